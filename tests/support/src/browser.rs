//! Browser without a window: Chromium, driven over a pair of pipes by the protocol of its developer tools.

use serde_json::{Value, json};
use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use tempfile::TempDir;

/// Fonts that a page is drawn with, whatever the machine has: Roboto, as on most phones.
const FONTS: &str = r#"<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>/usr/share/fonts/truetype/roboto</dir><dir>/usr/share/fonts/truetype/dejavu</dir>
  <cachedir>CACHE</cachedir>
  <match target="pattern"><edit name="family" mode="append_last"><string>Roboto</string></edit></match>
  <alias binding="same"><family>system-ui</family><prefer><family>Roboto</family></prefer></alias>
  <alias binding="same"><family>sans-serif</family><prefer><family>Roboto</family></prefer></alias>
  <alias binding="same"><family>ui-monospace</family><prefer><family>DejaVu Sans Mono</family></prefer></alias>
  <alias binding="same"><family>monospace</family><prefer><family>DejaVu Sans Mono</family></prefer></alias>
</fontconfig>
"#;

/// How a page is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// The width of the window.
    pub width: u32,
    /// Whether the person prefers dark colours.
    pub dark: bool,
    /// Whether it is printed.
    pub print: bool,
}

/// A browser with one page.
pub struct Browser {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    asked: u64,
    session: Option<String>,
    events: VecDeque<Value>,
    _dir: TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Browser {
    /// Start it, in the network in which this is called.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        fs::write(dir.path().join("fonts.conf"), FONTS.replace("CACHE", &format!("{path}/fonts"))).unwrap();
        let options = [
            "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --hide-scrollbars --no-first-run",
            "--disable-extensions --disable-background-networking --disable-sync --disable-lcd-text",
            "--font-render-hinting=none --force-color-profile=srgb --remote-debugging-pipe",
        ];
        // The protocol's pipes are its third and fourth file.
        let script = format!(
            "exec chromium {} --user-data-dir={path}/profile about:blank 3<&0 4>&1 </dev/null >/dev/null 2>{path}/said",
            options.join(" ")
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script]).env("FONTCONFIG_FILE", dir.path().join("fonts.conf")).env("HOME", path);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (to, from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut browser = Self { child, to, from, asked: 0, session: None, events: VecDeque::new(), _dir: dir };
        let target = browser.ask("Target.createTarget", json!({ "url": "about:blank" }))["targetId"].clone();
        let session = browser.ask("Target.attachToTarget", json!({ "targetId": target, "flatten": true }));
        browser.session = Some(session["sessionId"].as_str().unwrap().to_owned());
        browser.ask("Page.enable", json!({}));
        browser.ask("Log.enable", json!({}));
        browser.ask("Runtime.enable", json!({}));
        browser
    }

    /// Ask something of the protocol.
    pub fn ask(&mut self, method: &str, parameters: Value) -> Value {
        self.asked += 1;
        let mut message = json!({ "id": self.asked, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.to.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let mut heard = self.hear();
            if heard["id"] == self.asked {
                assert!(heard["error"].is_null(), "{method}: {heard}");
                return heard["result"].take();
            }
            self.events.push_back(heard);
        }
    }

    fn hear(&mut self) -> Value {
        let mut message = Vec::new();
        self.from.read_until(0, &mut message).unwrap();
        let said = || fs::read_to_string(self._dir.path().join("said")).unwrap_or_default();
        assert_eq!(message.pop(), Some(0), "the browser has gone: {}", said());
        serde_json::from_slice(&message).unwrap()
    }

    /// Wait for an event of this name, of those that nobody has waited for yet.
    pub fn wait_for(&mut self, method: &str) -> Value {
        let known = self.events.iter().position(|event| event["method"] == method);
        if let Some(event) = known.and_then(|at| self.events.remove(at)) {
            return event;
        }
        loop {
            let heard = self.hear();
            if heard["method"] == method {
                return heard;
            }
            self.events.push_back(heard);
        }
    }

    /// What the page has complained of so far: what its policy forbids, and what its script has run into.
    pub fn complaints(&mut self) -> Vec<String> {
        self.evaluate("0");
        let told = |event: &Value| match event["method"].as_str() {
            Some("Log.entryAdded") if event["params"]["entry"]["source"] == "security" => {
                Some(event["params"]["entry"]["text"].to_string())
            }
            Some("Runtime.exceptionThrown") => Some(event["params"]["exceptionDetails"].to_string()),
            _ => None,
        };
        self.events.drain(..).filter_map(|event| told(&event)).collect()
    }

    /// Look in a certain way at whatever is shown.
    pub fn look(&mut self, look: Look) {
        let metrics = json!({ "width": look.width, "height": 800, "deviceScaleFactor": 1, "mobile": look.width < 600 });
        self.ask("Emulation.setDeviceMetricsOverride", metrics);
        let (media, scheme) = (if look.print { "print" } else { "screen" }, if look.dark { "dark" } else { "light" });
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.ask("Emulation.setEmulatedMedia", json!({ "media": media, "features": features }));
    }

    /// Have every page see this time, and no other.
    pub fn stop_the_clock(&mut self, milliseconds: i64) {
        let source = format!("Date.now = () => {milliseconds};");
        self.ask("Page.addScriptToEvaluateOnNewDocument", json!({ "source": source }));
    }

    /// Go to an address, and wait until it is loaded.
    pub fn open(&mut self, url: &str) {
        self.events.retain(|event| event["method"] != "Page.loadEventFired");
        let gone = self.ask("Page.navigate", json!({ "url": url }));
        assert!(gone["errorText"].is_null(), "{url}: {gone}");
        self.wait_for("Page.loadEventFired");
    }

    /// Evaluate an expression in the page; of a promise what it comes to.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut answer = self.ask("Runtime.evaluate", asked);
        let begins: String = expression.chars().take(200).collect();
        assert!(answer["exceptionDetails"].is_null(), "{begins}: {answer}");
        answer["result"]["value"].take()
    }

    /// Wait until an expression is true. Of what it is made nothing tells: the page is asked often.
    pub fn until(&mut self, expression: &str) {
        let watch = format!(
            "new Promise(done => {{ const look = () => ({expression}) ? done() : setTimeout(look, 20); look(); }})"
        );
        self.evaluate(&watch);
    }

    /// A picture of the whole page, as PNG in base64.
    pub fn picture(&mut self, scale: f64) -> String {
        let size = self.evaluate("({width: innerWidth, height: document.documentElement.scrollHeight})");
        let clip = json!({ "x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": scale });
        let asked = json!({ "format": "png", "captureBeyondViewport": true, "optimizeForSpeed": false, "clip": clip });
        self.ask("Page.captureScreenshot", asked)["data"].as_str().unwrap().to_owned()
    }
}
