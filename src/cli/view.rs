//! Views: what is listed or shown, asked for and printed in one way, in whatever form is wanted.

use super::client::Client;
use super::failure::Failure;
use super::print::Output;
use crate::screen::Screen;
use serde::Serialize;

/// View of something that a command lists or shows.
pub(super) trait View {
    /// Answer that is shown.
    type Answer;

    /// Ask for the answer.
    async fn ask(&self, client: &Client) -> Result<Self::Answer, Failure>;

    /// Choose what a program reads of it.
    fn body<'a>(&self, answer: &'a Self::Answer) -> impl Serialize + 'a;

    /// List the names of what is shown.
    fn names(&self, answer: &Self::Answer) -> Vec<String>;

    /// Write what a person reads of it, for a screen.
    fn text(&self, answer: &Self::Answer, screen: Screen) -> String;

    /// Decide whether all that is shown is well.
    fn is_well(&self, _: &Self::Answer) -> bool {
        true
    }
}

/// Show what there is to show; `Ok(false)` if it is not well.
pub(super) async fn show<V: View>(view: &V, client: &Client, output: Output) -> Result<bool, Failure> {
    let answer = view.ask(client).await?;
    let (names, text) = (|| view.names(&answer), |_: &_| view.text(&answer, output.screen));
    output.show(&view.body(&answer), names, text)?;
    Ok(view.is_well(&answer))
}
