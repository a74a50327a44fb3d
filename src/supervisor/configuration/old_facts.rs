//! Old facts: what is known and another configuration has made old is forgotten. Every fact that there is stands here,
//! by whose it is to say that: whoever adds one is asked by the compiler. Never what an observer tells: how old that
//! is made by a configuration, each says itself ([`Observer::forget`](crate::observe::observer::Observer::forget)),
//! and what was told and nobody took yet is old with it ([`Told`](crate::observe::Told)).

use crate::decide::facts::{Facts, Region};
use crate::observe;
use crate::observe::observer::TakenOver;

/// Forget what another configuration has made old: what its observers have told of it, and what is counted by it.
pub(super) fn forget(by: &TakenOver, facts: &mut Facts) {
    observe::ALL.iter().for_each(|observer| (observer.forget)(by, facts));
    forget_others(by, facts);
}

/// Forget, of what is no observer's, what was counted, tried, or known of units, by what is configured otherwise now.
fn forget_others(by: &TakenOver, facts: &mut Facts) {
    facts.stale_units = true;
    if by.old.sled.storage.keep_deleted != by.new.sled.storage.keep_deleted {
        // Counted anew by what is to be kept now.
        facts.kept_for.clear();
    }
    if by.old.sled.notify != by.new.sled.notify {
        // Whether those can be told that are to be told from now on is not known.
        facts.unnotified = None;
    }
}

/// Ask whoever adds a fact whose it is to say that it is old.
const _: fn(&Facts) = |facts| {
    let Facts {
        // Observers': each has said it.
        bus: _,
        enforcement: _,
        image: _,
        files: _,
        network: _,
        claimed_by: _,
        kernel_log: _,
        rejoin: _,
        tls: _,
        disk: _,
        block: _,
        health: _,
        machine: _,
        inventory: _,
        intruders: _,
        // The reload's: said, counted and asked anew for what is in force from now on (`forget_others`).
        in_force: _,
        kept_for: _,
        stale_units: _,
        outdated: _,
        unnotified: _,
        regions: _,
        // The disk's and the ledger's: they are what they are, and another disk is another matter.
        settled: _,
        holding: _,
        grants: _,
        unread_grants: _,
        damaged_grants: _,
        drains: _,
        unfinished_upgrade: _,
        // The work's: it goes on as it was begun, and a reload that would take a region from it is refused.
        removing: _,
        busy: _,
        just_created: _,
        granting: _,
        awaiting: _,
        upgrading: _,
        scrubbing: _,
        verification: _,
        stuck_adoptions: _,
        stuck_removals: _,
        // The hosts': they come and go by themselves.
        seen_since: _,
        lacks: _,
        away: _,
        turned_away: _,
        refused: _,
        // The machine's and its operator's.
        maintenance: _,
        leaving: _,
        // The clock's: of an observer that begins anew the last word is as old as it was.
        unseen: _,
        ahead: _,
        unclean: _,
    } = facts;
};

/// Ask the same of whoever adds a fact of a region. Those that are gone or new have been seen to; one that stays, be it
/// elsewhere, keeps what is not its observers'.
const _: fn(&Region) = |region| {
    let Region {
        // Observers': each says it, of those that are started anew.
        unit: _,
        sockets: _,
        io_stalled: _,
        pulse: _,
        // The run's and its process's: they go on until it is restarted.
        ended: _,
        former: _,
        stopped: _,
        doing: _,
        program: _,
        needs_look: _,
        // The history's: how it went, counted anew by the configuration that is in force.
        steady: _,
        failure: _,
        crashes: _,
        pausing: _,
        hung_seconds: _,
        // systemd's answer, which is awaited.
        start: _,
        fencing: _,
        changing: _,
        // The moment's: looked at for one answer, and never kept.
        speaks_tls: _,
    } = region;
};
