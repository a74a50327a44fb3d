//! Views: what is listed or shown, asked for and printed in one way, in whatever form is wanted; once, or again and
//! again as it changes.

use super::client::Client;
use super::failure::Failure;
use super::print::{Form, Output};
use crate::screen::Screen;
use crate::table::Tone;
use crate::terminal::{self, Happening, Live};
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;
use tokio::time::sleep;

/// Time between two looks at something that does not tell when it changes.
const LOOK_POLL: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, Default, Args)]
pub(super) struct Watch {
    /// Show it again whenever it changes: in place on a terminal, until q or Ctrl-C; elsewhere one after another.
    #[arg(short, long)]
    pub(super) watch: bool,
}

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

    /// Wait until it is time for another look, or another answer is there.
    async fn change(&self, _: &Client, _: &Self::Answer) {
        sleep(LOOK_POLL).await;
    }
}

/// Show what there is to show, once or as it changes; `Ok(false)` if it is not well.
pub(super) async fn show<V: View>(view: &V, client: &Client, output: Output, watch: Watch) -> Result<bool, Failure> {
    let answer = view.ask(client).await?;
    if !watch.watch {
        print(view, &answer, output)?;
        return Ok(view.is_well(&answer));
    }
    if output.is_text() && terminal::is_watched() {
        in_place(view, client, output, answer).await
    } else {
        one_after_another(view, client, output, answer).await
    }
}

fn print<V: View>(view: &V, answer: &V::Answer, output: Output) -> Result<(), Failure> {
    let (names, text) = (|| view.names(answer), |_: &_| view.text(answer, output.screen));
    output.show(&view.body(answer), names, text)
}

/// Draw it in place until a key or a signal ends that.
async fn in_place<V: View>(view: &V, client: &Client, output: Output, mut answer: V::Answer) -> Result<bool, Failure> {
    let mut live = Live::begin()?;
    let mut trouble = None;
    loop {
        let screen = Screen { columns: terminal::screen().columns.filter(|_| !output.screen.wide), ..output.screen };
        live.draw(&page(&view.text(&answer, screen), trouble.as_ref()), &below(Timestamp::now()))?;
        let next = async {
            // A supervisor that is started anew is there again in a moment.
            if trouble.is_some() {
                sleep(LOOK_POLL).await
            } else {
                view.change(client, &answer).await
            }
            view.ask(client).await
        };
        tokio::select! {
            // Cancelled, it is begun anew with the next drawing.
            next = next => match next {
                Ok(next) => (answer, trouble) = (next, None),
                Err(why) => trouble = Some(why),
            },
            happens = live.happening() => if happens == Happening::End {
                return Ok(view.is_well(&answer));
            },
        }
    }
}

/// Write a page, below why it is not as things are now.
fn page(text: &str, trouble: Option<&Failure>) -> String {
    let Some(why) = trouble else { return text.to_owned() };
    let error = why.error();
    format!("{}\n    {}\n\n{text}", Tone::Bad.paint(&error.message), error.remedy)
}

fn below(now: Timestamp) -> String {
    Tone::Faint.paint(&format!("{}   q leaves", now.strftime("%H:%M:%S UTC")))
}

/// Print it whenever it is another than before.
async fn one_after_another<V: View>(
    view: &V,
    client: &Client,
    output: Output,
    mut answer: V::Answer,
) -> Result<bool, Failure> {
    let between = match output.form {
        Form::Yaml => "---\n",
        Form::Json => "",
        Form::Text | Form::Wide | Form::Name => "\n",
    };
    let mut shown = essence(&view.body(&answer))?;
    print(view, &answer, output)?;
    loop {
        view.change(client, &answer).await;
        answer = view.ask(client).await?;
        let now = essence(&view.body(&answer))?;
        if now != shown {
            terminal::out(between)?;
            print(view, &answer, output)?;
            shown = now;
        }
    }
}

/// Reduce an answer to what is so, without when it was found to be so.
fn essence(body: &impl Serialize) -> Result<Value, Failure> {
    let mut value = serde_json::to_value(body).map_err(std::io::Error::from)?;
    forget_when(&mut value);
    Ok(value)
}

fn forget_when(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("as_of");
            fields.values_mut().for_each(forget_when);
        }
        Value::Array(values) => values.iter_mut().for_each(forget_when),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_so_is_the_same_whenever_it_was_found() {
        let body = |when: &str, well: bool| json!({"as_of": when, "volumes": [{"as_of": when, "well": well}]});
        assert_eq!(essence(&body("a", true)).unwrap(), essence(&body("b", true)).unwrap());
        assert_ne!(essence(&body("a", true)).unwrap(), essence(&body("a", false)).unwrap());
    }
}
