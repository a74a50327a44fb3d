//! Conditions with a name: every check has a stable code, a severity, the thing it is about,
//! a sentence of cause and a sentence of remedy. All faces show the same ones. Pure.
//!
//! What can be said of a condition before it is met is in one table: the sled's are in `check/sled.rs`,
//! `check/network.rs`, `check/data.rs` and `check/machine.rs`, those of a host in `attach/codes.rs`. Findings, `explain` and the manuals
//! read it. The manuals' sections are written from it, and a test compares them:
//! `WRITE_MANUALS=1 cargo test --test structure manual`.

pub mod catalog;
mod data;
mod machine;
mod network;
mod sled;

pub use sled::Code;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How much a condition matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// No host may attach what it concerns.
    Blocking,
    /// It works, and somebody should look at it.
    Warning,
    /// It is well, and worth knowing.
    Information,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Blocking => "blocking",
            Self::Warning => "warning",
            Self::Information => "information",
        })
    }
}

/// What a condition concerns, at its widest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// The sled, and so every volume on it.
    Sled,
    /// One volume.
    Volume,
    /// One region, and so its volume.
    Region,
    /// Whoever looks after the machine, and no volume.
    Operator,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Sled => "the sled",
            Self::Volume => "a volume",
            Self::Region => "a region",
            Self::Operator => "the operator",
        })
    }
}

/// Entry of the table: what is known of a condition before it is met.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct About {
    /// Its code, as it is written everywhere.
    pub code: &'static str,
    /// How much it matters; the same wherever it occurs.
    pub severity: Severity,
    /// What it concerns, at its widest.
    pub scope: Scope,
    /// What raises it, in sentences. Commands and names stand between backticks.
    pub raised: &'static str,
    /// How its cause reads. Words in capitals stand for what is found.
    pub cause: &'static str,
    /// What is to be done, as a rule; the remedy of a condition that is met fits its cause.
    pub remedy: &'static str,
    /// Whether it is a step on the way to being well, and nobody need be alarmed.
    pub passes: bool,
    /// The version that had it first.
    pub since: &'static str,
}

/// The version of what does not say another.
pub const FIRST: &str = "0.1.0";

/// A table of conditions: what raises one, its name in the code, its code, severity and scope, the form of its
/// cause and its remedy.
macro_rules! codes {
    ($(
        $(#[doc = $raised:literal])*
        $name:ident = $code:literal, $severity:ident, $scope:ident $(, $passes:ident)?:
            $cause:literal => $remedy:literal $(, since $since:literal)?;
    )*) => {
        /// The stable name of a condition.
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
            schemars::JsonSchema,
        )]
        pub enum Code {
            $($(#[doc = $raised])* #[serde(rename = $code)] $name,)*
        }

        impl Code {
            /// Every code there is, the ones to be looked at first in front.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The code as it is written everywhere.
            pub const fn as_str(self) -> &'static str {
                self.about().code
            }

            /// How much the condition matters; the same wherever it occurs.
            pub const fn severity(self) -> $crate::check::Severity {
                self.about().severity
            }

            /// The message id by which the journal's catalog explains the condition.
            pub fn message_id(self) -> String {
                $crate::check::catalog::message_id(self.as_str())
            }

            /// Whether the condition is a step on the way to being well, and nobody need be alarmed.
            pub const fn passes(self) -> bool {
                self.about().passes
            }

            /// What is to be done, as a rule.
            pub const fn remedy(self) -> &'static str {
                self.about().remedy
            }

            /// All that the table says of it.
            pub const fn about(self) -> &'static $crate::check::About {
                &Self::TABLE[self as usize]
            }

            /// An entry for each, in the order in which they are declared.
            const TABLE: &'static [$crate::check::About] = &[$($crate::check::About {
                code: $code,
                severity: $crate::check::Severity::$severity,
                scope: $crate::check::Scope::$scope,
                raised: concat!($($raised),*).trim_ascii(),
                cause: $cause,
                remedy: $remedy,
                passes: $crate::check::codes!(@passes $($passes)?),
                since: $crate::check::codes!(@since $($since)?),
            }),*];
        }

        impl std::fmt::Display for Code {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
    (@passes) => { false };
    (@passes passes) => { true };
    (@since) => { $crate::check::FIRST };
    (@since $since:literal) => { $since };
}
pub(crate) use codes;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_reads_in_json_as_everywhere_else() {
        for code in Code::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
            assert!(code.as_str().chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'));
        }
    }
}
