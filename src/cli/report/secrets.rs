//! Secrets, which go into no report: they are left out of whatever has names for its values. Pure.

use serde_json::Value;

/// Words in the name of a value that nobody else is to know.
const SECRET: [&str; 8] =
    ["token", "secret", "password", "passphrase", "webhook", "credential", "authorization", "private"];
/// Tables that are left out as a whole: what they hold are addresses that let in whoever knows them.
const TABLES: [&str; 1] = ["notify"];
/// What stands in the place of one.
const LEFT_OUT: &str = "(left out)";

/// Leave the secrets out of a value.
pub(super) fn leave_out(value: &mut Value) {
    match value {
        Value::Object(entries) => {
            for (name, value) in entries {
                if is_secret(name) { *value = LEFT_OUT.into() } else { leave_out(value) }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(leave_out),
        // An address may carry a name and a password.
        Value::String(text) if has_user(text) => *text = LEFT_OUT.into(),
        _ => {}
    }
}

/// Whether a name tells that nobody else is to know its value.
pub(super) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    TABLES.contains(&name.as_str()) || SECRET.iter().any(|word| name.contains(word))
}

fn has_user(text: &str) -> bool {
    let host = text.split_once("://").and_then(|(_, rest)| rest.split(['/', '?', '#']).next());
    host.is_some_and(|host| host.contains('@'))
}

/// Read a file of the configuration, without its secrets and comments. One that cannot be read as a whole is left out:
/// nobody knows what is a secret in it.
pub(super) fn of_toml(text: &str) -> Result<Value, String> {
    let table: toml::Table = text.parse().map_err(|_| "it is no TOML, and left out: sledctl config check says more")?;
    let mut value = serde_json::to_value(table).map_err(|why| why.to_string())?;
    leave_out(&mut value);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_left_in_whatever_form_it_has() {
        for text in [
            "[notify]\nurl = \"https://a.example/SECRET\"",
            "notify = { url = \"SECRET\" }",
            "notify.urls = [\n\"SECRET\"\n]",
            "[notify.chat]\na = \"SECRET\"",
            "[[notify]]\na = \"SECRET\"",
            "[http]\nToken = \"SECRET\"",
            "[http]\nwebhook_url = '''\nSECRET\n'''",
            "[a]\n[[a.b]]\npassword = [\"SECRET\"]",
            "# SECRET\na = 1",
            "[appliance]\nupdate = \"https://user:SECRET@a.example/x\"",
        ] {
            let value = of_toml(text).unwrap().to_string();
            assert!(!value.contains("SECRET"), "{text}\n{value}");
        }
        assert!(!of_toml("[notify]\nurl = SECRET").unwrap_err().contains("SECRET"));
    }

    #[test]
    fn the_rest_is_what_it_was() {
        let value = of_toml("[tls]\nkey = \"/etc/sled/tls/key.pem\"\n[appliance]\nupdate = \"https://a.example/@x\"");
        assert_eq!(
            value.unwrap().to_string(),
            r#"{"appliance":{"update":"https://a.example/@x"},"tls":{"key":"/etc/sled/tls/key.pem"}}"#
        );
    }
}
