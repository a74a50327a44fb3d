//! The journal of a sled, as `journalctl -x` explains it.

use crucible_sled::attach;
use crucible_sled::check::Code;
use crucible_sled::check::catalog::message_id;
use support::layer::Layer;

/// Each message that raises or ends a check has the check's id, its code and its subject, and the catalog has what the
/// table says of it.
#[test]
fn the_journal_explains_what_a_message_tells_of() {
    let machine = Layer::small().boot();
    let updated = machine.run(&["journalctl", "--update-catalog"]);
    assert!(updated.status.success() && updated.stderr.is_empty(), "{updated:?}");
    let known = machine.ok(&["journalctl", "--dump-catalog"]);
    let codes = Code::ALL.iter().map(|code| code.as_str());
    for code in codes.chain(attach::findings::Code::ALL.iter().map(|code| code.as_str())) {
        assert!(known.contains(&format!("-- {}\nSubject: {code}: @SUBJECT@\n", message_id(code))), "{code}");
    }

    let (id, about) = (Code::Maintenance.message_id(), Code::Maintenance.about());
    let of = format!("journalctl -b -o cat --output-fields=MESSAGE MESSAGE_ID={id} CODE=MAINTENANCE SUBJECT=sled");
    machine.ok(&["sledctl", "maintenance", "on", "--for", "1h"]);
    machine.sh(&format!("until {of} | grep -q '^MAINTENANCE: sled: '; do sleep 0.1; done"));
    machine.ok(&["sledctl", "maintenance", "off"]);
    machine.sh(&format!("until {of} | grep -q '^MAINTENANCE is over: sled'; do sleep 0.1; done"));
    let shown = machine.ok(&["journalctl", "-b", "-x", "--no-pager", &format!("MESSAGE_ID={id}")]);
    assert!(shown.contains("Subject: MAINTENANCE: sled\n"), "{shown}");
    for words in [about.remedy, about.cause, about.raised] {
        let first = words.split(' ').take(4).collect::<Vec<_>>().join(" ");
        assert!(shown.contains(&first), "{first}: {shown}");
    }
}
