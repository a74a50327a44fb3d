//! Page at `/` before a browser: what it looks like, whether everybody can read it, and whether it follows what happens.
//!
//! Its pictures, `page/pictures/`, are of sleds with fixed names and times. After a change that is wanted they are
//! written anew, and looked at: `WRITE_PICTURES=1 cargo test --test sled faces::page::pictures`.

mod samples;
mod served;

use super::Face;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use served::Served;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use support::browser::{Browser, Look};
use support::places::repository;

/// Set to have the pictures written, and not only compared.
const WRITE: &str = "WRITE_PICTURES";
/// A phone at night.
const PHONE: Look = Look { width: 360, dark: true, print: false };
/// A desk by day.
const DESK: Look = Look { width: 1280, dark: false, print: false };
const PAPER: Look = Look { width: 800, dark: false, print: true };

/// Pictures are of half the size: what they are to show is seen in them as well.
const SCALE: f64 = 0.5;
/// The share of pixels that may differ: another version of the browser draws the edges of letters otherwise.
const MOST_DIFFERENT: f64 = 0.002;

/// Compares two pictures in base64: the share of their pixels that differ so that a person sees it, or 1 if they differ
/// in size.
const COMPARE: &str = r#"(async (pictures) => {
    const load = async (text) => {
        const picture = new Image();
        picture.src = `data:image/png;base64,${text}`;
        await picture.decode();
        const canvas = new OffscreenCanvas(picture.width, picture.height).getContext('2d');
        canvas.drawImage(picture, 0, 0);
        return canvas.getImageData(0, 0, picture.width, picture.height);
    };
    const [one, other] = await Promise.all(pictures.map(load));
    if (one.width !== other.width || one.height !== other.height) return 1;
    let differ = 0;
    for (let at = 0; at < one.data.length; at += 4) {
        const apart = [0, 1, 2].map((channel) => Math.abs(one.data[at + channel] - other.data[at + channel]));
        if (Math.max(...apart) > 96) differ += 1;
    }
    return differ / (one.data.length / 4);
})"#;

/// A browser for which it is always the time of the samples.
fn browser() -> Browser {
    let mut browser = Browser::start();
    let now: jiff::Timestamp = samples::NOW.parse().unwrap();
    browser.stop_the_clock(now.as_millisecond());
    browser
}

/// Opens a page, and waits until its script follows.
fn open(browser: &mut Browser, served: &Served) {
    browser.open(&served.url);
    browser.until("document.querySelector('#live')?.textContent !== ''");
}

#[test]
fn pictures_are_as_they_were() {
    tools();
    let (mut browser, served) = (browser(), Served::new());
    let mut wrong = Vec::new();
    for (name, status, page) in samples::all() {
        served.show(status, page);
        for (look, kind) in [(PHONE, "phone"), (DESK, "desk"), (PAPER, "paper")] {
            if look.print && name != "region-down" {
                continue;
            }
            browser.look(look);
            open(&mut browser, &served);
            wrong.extend(differs(&mut browser, &format!("{name}-{kind}")));
        }
    }
    assert_eq!(wrong, Vec::<String>::new(), "as wanted? {WRITE}=1 writes them anew");
}

/// Compares what is shown with the picture of this name: what is wrong with it.
fn differs(browser: &mut Browser, name: &str) -> Option<String> {
    let path = repository("tests/sled/faces/page/pictures").join(format!("{name}.png"));
    let now = browser.picture(SCALE);
    if std::env::var_os(WRITE).is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, STANDARD.decode(now).unwrap()).unwrap();
        return None;
    }
    let Ok(before) = fs::read(&path).map(|picture| STANDARD.encode(picture)) else {
        return Some(format!("there is no picture {name}"));
    };
    browser.open("about:blank");
    let share = browser.evaluate(&format!("{COMPARE}([\"{before}\", \"{now}\"])")).as_f64().unwrap();
    if share <= MOST_DIFFERENT {
        return None;
    }
    let beside = std::env::temp_dir().join(format!("{name}.png"));
    fs::write(&beside, STANDARD.decode(now).unwrap()).unwrap();
    Some(format!("{name}: {:.2} % of it differ; it is {} now", share * 100.0, beside.display()))
}

/// Installs what a page is looked at with: the text of axe-core.
fn tools() -> String {
    let script = Command::new(repository("tests/faces/browser")).output().unwrap();
    assert!(script.status.success(), "{}", String::from_utf8_lossy(&script.stderr));
    let path = PathBuf::from(String::from_utf8(script.stdout).unwrap().trim());
    fs::read_to_string(path).unwrap()
}

/// Looks for what keeps somebody from reading a page, and for what its policy forbids.
fn obstacles(browser: &mut Browser, axe: &str) -> Vec<String> {
    browser.evaluate(&format!("{axe}; 0"));
    let found = "axe.run(document, { resultTypes: ['violations'] }).then(({ violations, passes }) => ({ \
                 passes: passes.length, \
                 wrong: violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(' ')}`) }))";
    let found = browser.evaluate(found);
    assert!(found["passes"].as_u64().unwrap() > 10, "axe has looked at nothing: {found}");
    let mut wrong: Vec<String> = serde_json::from_value(found["wrong"].clone()).unwrap();
    let wide = browser.evaluate("document.documentElement.scrollWidth - innerWidth").as_i64().unwrap();
    if wide > 0 {
        wrong.push(format!("{wide} pixels lie beside the window"));
    }
    wrong.extend(browser.complaints());
    wrong
}

#[test]
fn everybody_can_read_it() {
    let axe = tools();
    let (mut browser, served) = (browser(), Served::new());
    let others = [("checks", crucible_sled::page::explanations()), ("starting", crucible_sled::page::starting())];
    let others = others.map(|(name, page)| (name, 200, page));
    let mut wrong = Vec::new();
    for (name, status, page) in samples::all().into_iter().chain(others) {
        served.show(status, page);
        for (width, dark) in [(360, false), (360, true), (1280, false), (1280, true)] {
            browser.look(Look { width, dark, print: false });
            browser.open(&served.url);
            let found = obstacles(&mut browser, &axe);
            wrong.extend(found.iter().map(|what| format!("{name}, {width}, dark {dark}: {what}")));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// The first heading of the page.
const HEADLINE: &str = "document.querySelector('h1').textContent";

#[test]
fn it_follows_what_happens_and_says_when_it_cannot() {
    tools();
    let (mut browser, served) = (browser(), Served::new());
    let page = |name: &str| samples::all().into_iter().find(|(of, ..)| *of == name).unwrap();
    let show = |served: &Served, name: &str| {
        let (_, status, page) = page(name);
        served.show(status, page);
        served.tell();
    };
    show(&served, "well");
    browser.look(PHONE);
    open(&mut browser, &served);
    // What is gone when it is loaded anew.
    browser.evaluate("window.loaded = 'once'");
    show(&served, "region-down");
    browser.until(&format!("{HEADLINE}.includes('still-fawn cannot be attached')"));
    assert_eq!(browser.evaluate("document.title"), "proper-raptor: REGION_DOWN");
    browser.until("document.querySelector('#said').textContent.includes('still-fawn cannot')");

    // Whoever has marked a command keeps it, and sees what is new when he is done.
    browser.evaluate("getSelection().selectAllChildren(document.querySelector('.remedy'))");
    show(&served, "nic-usb2");
    served.wait_until_asked();
    assert!(browser.evaluate("getSelection().toString()").as_str().unwrap().contains("journalctl"));
    browser.evaluate("getSelection().removeAllRanges()");
    browser.until(&format!("{HEADLINE}.includes('enx00e04ca81110 wants a look')"));

    served.go_away(true);
    browser.until("document.querySelector('#live').textContent.includes('no connection')");
    show(&served, "refused");
    served.go_away(false);
    browser.until(&format!("{HEADLINE}.includes('no configuration')"));
    browser.until("document.querySelector('#live').textContent === 'live'");
    assert_eq!(browser.evaluate("window.loaded"), "once");
}

/// The sled itself: a region is stopped, and the page says so by itself.
#[test]
fn a_real_sled_is_followed() {
    tools();
    let face = Face::boot();
    let mut browser = face.machine.in_outside(Browser::start);
    browser.look(PHONE);
    browser.open(&format!("{}/", face.url));
    let state = "document.querySelector('#volume-still-fawn').textContent";
    browser.until(&format!("{state}.includes('ready') && !{state}.includes('not ready')"));
    browser.evaluate("window.loaded = 'once'");
    face.machine.ok(&["sledctl", "region", "hold", "still-fawn-1"]);
    browser.until(&format!("{state}.includes('not ready') && {HEADLINE}.includes('still-fawn cannot be attached')"));
    face.machine.ok(&["sledctl", "region", "release", "still-fawn-1"]);
    browser.until(&format!("{state}.includes('ready') && !{state}.includes('not ready')"));
    assert_eq!(browser.evaluate("window.loaded"), "once");
    assert_eq!(browser.complaints(), Vec::<String>::new());
    browser.open(&format!("{}/checks#NIC_USB2", face.url));
    assert_eq!(browser.evaluate("document.querySelector(':target .code').textContent"), "NIC_USB2");
}
