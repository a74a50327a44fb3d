//! Two hosts want the same volume: the second one waits, or takes it over, and then the first one
//! is out before the second is told.

use crate::calm::Calm;
use crate::lines::{Line, Siege};
use crate::port_map::{PUMPED_PIGLET, STILL_FAWN, boot, is_let_in, is_shut_out};
use crate::tickets::{ATTACH, GRANT_LIMIT, RELEASE, granted, let_go, refused};
use std::time::Instant;
use support::hosts::{EVENT_LIMIT, Host, SLED};
use support::machine::Machine;

/// The wish for a ticket, whoever is there.
pub const TAKEOVER: &str = "{\"takeover\": true}";
const PORTS: [u16; 3] = [3830, 3831, 3832];

/// Both hosts of the volume.
fn hosts(machine: &Machine) -> (Host, Host) {
    (machine.host(STILL_FAWN), machine.host(PUMPED_PIGLET))
}

/// A ticket, and a connection to each region.
fn attach(host: &Host) -> [Line; 3] {
    granted(host, "");
    PORTS.map(|port| Line::open(host, port))
}

/// Waits until the sled has seen that nobody is connected.
fn is_left(machine: &Machine) {
    machine.wait_for("still-fawn", |volume| volume.attached.is_empty());
}

/// Until a ticket is granted, both may come; from then on, the one that has it.
#[test]
fn a_ticket_shuts_out_everybody_else() {
    let mut machine = boot();
    let (first, second) = hosts(&machine);
    assert!(first.reaches(3830) && second.reaches(3830));
    granted(&first, "");
    assert!(first.reaches(3830) && first.reaches(3832));
    is_shut_out(&second, &[3830, 3831, 7832]);
    assert!(second.reaches(3840), "the other volume is none of this one's business");
    machine.reboot();
    machine.wait_for("still-fawn", |volume| volume.ready);
    assert!(first.reaches(3830));
    is_shut_out(&second, &[3830]);
    machine.sh("systemctl restart crucible-downstairs@still-fawn-0; systemctl restart sledd");
    machine.wait_for("still-fawn", |volume| volume.ready);
    assert!(first.reaches(3830));
    is_shut_out(&second, &[3830]);
    // Nobody is connected, and the first one may come back: until it lets go, or is away for long.
    is_left(&machine);
    let refusal = refused(&second, "", 409, "VOLUME_HELD_ELSEWHERE");
    assert!(refusal.error.message.contains(STILL_FAWN) && refusal.attached.is_empty(), "{refusal:#?}");
    assert!(first.reaches(3830));
    // The host does not lose what it has attached, and nobody else lets go of it.
    let line = Line::open(&first, 3830);
    not_released(&first, "", "STILL_ATTACHED");
    not_released(&second, "", "NOT_HELD");
    line.close();
    let generation = machine.volume("still-fawn").generation;
    not_released(&first, &format!("{{\"generation\": {}}}", generation - 1), "NOT_HELD");
    let_go(&first);
    // Without a ticket nobody is let in.
    is_shut_out(&first, &[3830]);
    is_shut_out(&second, &[3830]);
    assert!(machine.volume("still-fawn").holder.unwrap().released);
    granted(&second, "");
    assert!(second.reaches(3830));
    is_shut_out(&first, &[3830]);
    assert!(machine.volume("still-fawn").generation > generation);
}

/// A host would let go, and does not for this reason.
fn not_released(host: &Host, body: &str, code: &str) {
    let (status, answer) = host.ask("POST", RELEASE, body);
    assert_eq!((status, &answer["error"]["code"]), (409, &code.into()), "{answer:#}");
}

#[test]
fn who_comes_second_is_told_who_is_there_and_disturbs_nobody() {
    let machine = boot();
    let (first, second) = hosts(&machine);
    let lines = attach(&first);
    // A moment after it connected, no later than the next look at the sockets; and then its ticket is shown.
    let seen =
        machine.wait_for("still-fawn", |volume| volume.attached.iter().any(|attached| attached.regions.len() == 3));
    let before = seen.generation;
    let refusal = refused(&second, "", 409, "VOLUME_ATTACHED_ELSEWHERE");
    let attached = &refusal.attached[0];
    assert_eq!(
        (refusal.attached.len(), attached.address, attached.host.as_deref()),
        (1, first.ip(), Some("still-fawn"))
    );
    assert_eq!(attached.regions.len(), 3);
    let age = jiff::Timestamp::now().duration_since(attached.since);
    assert!(age.as_secs() < 60 && !age.is_negative(), "{attached:?}");
    assert_eq!(refusal.generation, before);
    assert!(refusal.error.message.contains(STILL_FAWN), "{refusal:#?}");
    is_shut_out(&second, &[3830]);
    assert!(lines.map(Line::close).iter().all(|answers| *answers > 0));
    let volume = machine.volume("still-fawn");
    assert_eq!((volume.generation, volume.holder.unwrap().address), (before, first.ip()));
}

/// A host that has just connected is seen, though nothing tells of a connection.
#[test]
fn who_comes_a_moment_after_the_first_is_refused_as_well() {
    let machine = boot();
    let (first, second) = hosts(&machine);
    for _ in 0..5 {
        granted(&first, TAKEOVER);
        let line = Line::open(&first, 3831);
        refused(&second, "", 409, "VOLUME_ATTACHED_ELSEWHERE");
        line.close();
    }
}

#[test]
fn a_takeover_cuts_the_first_host_off_before_it_is_granted() {
    let machine = boot();
    let (first, second) = hosts(&machine);
    let (before, lines) = (machine.pids(), attach(&first));
    let older = machine.volume("still-fawn").generation;
    let sieges = PORTS.map(|port| Siege::begin(&first, port));
    machine.wait_for("still-fawn", |volume| !volume.attached.is_empty());

    let began = Calm::begin();
    let ticket = granted(&second, TAKEOVER);
    let granted_at = Instant::now();
    assert!(began.elapsed() < GRANT_LIMIT, "it took {:?}", began.elapsed());
    assert!(ticket.generation > older);
    // Writes that the second has kept of a time before the first had the volume it must not write.
    assert_eq!(ticket.others, older);
    for line in &lines {
        assert!(line.is_cut_within(GRANT_LIMIT));
    }
    assert_eq!(left_of_the_first(&machine), "");
    let own = PORTS.map(|port| Line::open(&second, port));
    is_shut_out(&first, &[3830, 3831, 3832, 7830]);
    for siege in sieges {
        let last = siege.end();
        assert!(last.is_none_or(|last| last < granted_at), "it was let in {:?} after", last.map(|at| at - granted_at));
    }
    let volume = machine.wait_for("still-fawn", |volume| {
        volume.holder.as_ref().is_some_and(|holder| holder.generation == ticket.generation)
    });
    let holder = volume.holder.unwrap();
    assert_eq!((holder.address, holder.denied.as_slice()), (second.ip(), &[first.ip()][..]));
    assert!(own.map(Line::close).iter().all(|answers| *answers > 0));
    assert_eq!(machine.pids(), before, "nothing is restarted for that");
}

/// The connections of the first host that the regions' kernel knows, but for TIME_WAIT.
fn left_of_the_first(machine: &Machine) -> String {
    let ports = "sport = :3830 or sport = :3831 or sport = :3832 or sport = :7830 or sport = :7831 or sport = :7832";
    machine.sh(&format!("ss -Htn state all exclude time-wait 'dst 192.168.4.17 and ( {ports} )'"))
}

/// Connections that a region has ended already, and the host has not, go as well: also of a host that
/// has no others, and those that came while the fence was set.
#[test]
fn a_takeover_leaves_nothing_of_connections_that_had_ended_either() {
    let machine = boot();
    let (first, second) = hosts(&machine);
    granted(&first, "");
    let sieges = PORTS.map(|port| Siege::that_leaves_remains(&first, port));
    let began = Instant::now();
    while left_of_the_first(&machine).matches("FIN-WAIT-2").count() < 6 {
        assert!(began.elapsed() < EVENT_LIMIT, "no connection is ended");
    }
    granted(&second, TAKEOVER);
    assert_eq!(left_of_the_first(&machine), "");
    sieges.into_iter().for_each(|siege| _ = siege.end());
}

#[test]
fn a_wish_that_cannot_be_granted_cuts_nobody_off() {
    let machine = boot();
    let (first, second) = hosts(&machine);
    let absurd = "{\"takeover\": true, \"at_least\": 9223372036854775808}";
    let lines = attach(&first);
    let before = machine.volume("still-fawn").holder;
    refused(&second, absurd, 400, "GENERATION_TOO_HIGH");
    is_shut_out(&second, &[3830]);
    assert!(lines.map(Line::close).iter().all(|answers| *answers > 0));
    // Neither while nobody is connected.
    is_left(&machine);
    refused(&second, absurd, 400, "GENERATION_TOO_HIGH");
    assert!(first.reaches(3831));
    is_shut_out(&second, &[3830]);
    assert_eq!(machine.volume("still-fawn").holder, before);
}

#[test]
fn who_was_cut_off_comes_back_with_a_ticket_of_its_own() {
    let machine = boot();
    let (first, second) = hosts(&machine);
    let lines = attach(&first);
    granted(&second, TAKEOVER);
    let line = Line::open(&second, 3830);
    machine.wait_for("still-fawn", |volume| volume.attached.iter().any(|attached| attached.address == second.ip()));
    refused(&first, "", 409, "VOLUME_ATTACHED_ELSEWHERE");
    line.close();
    drop(lines);
    is_left(&machine);
    let_go(&second);
    granted(&first, "");
    assert!(first.reaches(3830));
    is_shut_out(&second, &[3830, 3831, 3832]);
    let holder = machine.volume("still-fawn").holder.unwrap();
    assert_eq!((holder.address, holder.denied.contains(&first.ip())), (first.ip(), false));
}

#[test]
fn an_operator_lets_a_host_in_again_and_shuts_it_out() {
    let mut machine = boot();
    let (first, second) = hosts(&machine);
    attach(&first).into_iter().for_each(|line| _ = line.close());
    granted(&second, TAKEOVER);
    let line = Line::open(&second, 3831);
    is_shut_out(&first, &[3830]);
    machine.ok(&["sledctl", "volume", "allow", "still-fawn", STILL_FAWN]);
    assert!(first.reaches(3830) && first.reaches(3832));
    machine.reboot();
    machine.wait_for("still-fawn", |volume| volume.ready);
    assert!(first.reaches(3830), "what an operator allowed is forgotten");
    assert!(line.is_cut_within(GRANT_LIMIT), "the machine was switched off");
    // By the name that the map has for it, while it is connected.
    let line = Line::open(&first, 3830);
    machine.ok(&["sledctl", "volume", "deny", "still-fawn", "still-fawn"]);
    assert!(line.is_cut_within(GRANT_LIMIT));
    is_shut_out(&first, &[3830, 3831]);
    assert!(second.reaches(3830));
    let denied = machine.volume("still-fawn").holder.unwrap().denied;
    assert_eq!(denied, [first.ip()]);
    let silly = machine.run(&["sledctl", "volume", "deny", "still-fawn", "nobody"]);
    assert!(matches!(silly.status.code(), Some(1 | 2)), "{silly:?}");
}

/// Each takes it from the other, at the same time.
#[test]
fn of_two_that_take_over_at_once_the_higher_one_stays() {
    let machine = boot();
    let (first, second) = hosts(&machine);
    for _ in 0..5 {
        let asking = [&first, &second].map(|host| {
            let host = host.clone();
            std::thread::spawn(move || (granted(&host, TAKEOVER).generation, host))
        });
        let mut both = asking.map(|thread| thread.join().unwrap());
        both.sort_by_key(|(generation, _)| *generation);
        let [(lower, loser), (higher, winner)] = both;
        assert_ne!(lower, higher);
        assert!(winner.reaches(3830) && winner.reaches(3831) && winner.reaches(3832));
        is_shut_out(&loser, &[3830, 3831, 3832]);
        assert_eq!(machine.volume("still-fawn").holder.unwrap().address, winner.ip());
    }
}

/// The supervisor is killed at every stage of a takeover. What was granted holds from then on; what
/// was not is one way or the other, and not half of it.
#[test]
fn a_takeover_is_whole_though_the_supervisor_is_killed() {
    let machine = boot();
    let (first, second) = hosts(&machine);
    granted(&first, "");
    // How long one takes here: the kills are spread over it, however slow the machine is.
    let began = Instant::now();
    granted(&second, TAKEOVER);
    let whole = began.elapsed();
    let (mut there, mut next, before) = (second, first, machine.pids());
    let mut taken = 0;
    for round in 0..8 {
        let asks = next.clone();
        let asking = std::thread::spawn(move || asks.ask_at(SLED, "POST", ATTACH, TAKEOVER));
        std::thread::sleep(whole * round / 6);
        // The last one comes when all has been said.
        while round == 7 && !asking.is_finished() {
            std::thread::yield_now();
        }
        machine.ok(&["systemctl", "kill", "--signal=KILL", "sledd.service"]);
        let answer = asking.join().unwrap();
        let granted = matches!(answer, Ok((200, _)));
        assert!(granted || round < 7, "{answer:?}");
        if granted {
            is_shut_out(&there, &[3830]);
            assert!(PORTS.iter().all(|port| next.reaches(*port)), "round {round}");
        }
        let volume = machine.wait_for("still-fawn", |volume| volume.ready && volume.holder.is_some());
        let holder = volume.holder.unwrap().address;
        assert!(!granted || holder == next.ip(), "round {round}: {holder} holds it");
        if holder == next.ip() {
            std::mem::swap(&mut there, &mut next);
            taken += 1;
        }
        is_let_in(&there, &PORTS);
        let began = Calm::begin();
        while PORTS.iter().any(|port| next.reaches(*port)) {
            assert!(!began.is_over(GRANT_LIMIT), "round {round}: {} is let in, too", next.address);
        }
    }
    println!("{taken} of 8 rounds were taken over, each of which takes {whole:?}");
    assert_eq!(machine.pids(), before);
}
