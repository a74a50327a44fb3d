use super::*;
use proptest::prelude::*;

fn device() -> Connect {
    Connect {
        index: Some(3),
        size: 1 << 30,
        block_size: 4096,
        server_flags: 0x25,
        client_flags: DISCONNECT_ON_CLOSE,
        dead_timeout: Duration::from_secs(600),
        timeout: None,
        backend: "crucible/v@1".parse().unwrap(),
    }
}

/// A netlink message as the kernel writes it.
fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = (16 + body.len() as u32).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([1, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn said(bytes: &[u8]) -> Packet {
    match answers(bytes).remove(0) {
        Answer::Said(packet) => packet,
        other => panic!("{other:?}"),
    }
}

/// Read a request as the kernel does: its attributes, by their numbers.
fn read(bytes: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let packet = said(bytes);
    packet.attributes().map(|attribute| (attribute.kind(), attribute.value().to_vec())).collect()
}

#[test]
fn a_request_is_the_kernels_bytes() {
    let bytes = Request::Reconfigure(3, "crucible/v@1".parse().unwrap(), 7).packet(0x1f).bytes(1);
    let expected = [
        // 64 bytes to family 31, as a request that is acknowledged, the first.
        &[0x40, 0, 0, 0, 0x1f, 0, 5, 0, 1, 0, 0, 0, 0, 0, 0, 0][..],
        // RECONFIGURE, version 1.
        &[3, 1, 0, 0],
        // The index.
        &[8, 0, 1, 0, 3, 0, 0, 0],
        // A list of sockets, in it one, in that its descriptor.
        &[16, 0, 7, 0x80, 12, 0, 1, 0x80, 8, 0, 1, 0, 7, 0, 0, 0],
        // The backend, with the zero behind it, and filled up to four.
        &[17, 0, 10, 0],
        b"crucible/v@1\0\0\0\0",
    ]
    .concat();
    assert_eq!(bytes, expected);
    let bytes = Request::Disconnect(2).packet(0x1f).bytes(1);
    assert_eq!(bytes[16..], [2, 1, 0, 0, 8, 0, 1, 0, 2, 0, 0, 0]);
    let bytes = Request::Status(2).packet(0x1f).bytes(1);
    assert_eq!(bytes[16..], [5, 1, 0, 0, 8, 0, 1, 0, 2, 0, 0, 0]);
}

#[test]
fn a_device_is_connected_with_all_that_it_needs() {
    let u64s = |number: u64| number.to_ne_bytes().to_vec();
    let of = |device: Connect| read(&Request::Connect(device, 5).packet(30).bytes(1));
    let all = of(Connect { timeout: Some(Duration::from_secs(90)), ..device() });
    let get = |kind: u16| all.iter().find(|(one, _)| *one == kind).map(|(_, value)| value.clone()).unwrap();
    assert_eq!(get(1), 3u32.to_ne_bytes());
    assert_eq!(get(2), u64s(1 << 30));
    assert_eq!(get(3), u64s(4096));
    assert_eq!(get(4), u64s(90));
    assert_eq!(get(5), u64s(0x25));
    assert_eq!(get(6), u64s(2));
    assert_eq!(get(8), u64s(600));
    assert_eq!(get(10), b"crucible/v@1\0");
    // Without a number and a time-out it says nothing of them: 0 would be the first device, and "never" is the default.
    let few = of(Connect { index: None, ..device() });
    assert!(few.iter().all(|(kind, _)| ![1, 4].contains(kind)), "{few:?}");
    // Less than a second is not "never".
    let short = of(Connect { timeout: Some(Duration::from_millis(5)), ..device() });
    assert!(short.contains(&(4, u64s(1))));
}

#[test]
fn the_family_and_its_group_are_found() {
    let group = |name: &str, id: u32| {
        let parts = [attribute(GROUP_NAME, text(name)), attribute(GROUP_ID, id.to_ne_bytes().into())];
        emitted(&parts)
    };
    let groups = emitted(&[attribute(1, group("other", 4)), attribute(2, group("nbd_mc_group", 9))]);
    let body = |attributes: &[DefaultNla]| [&[1, 2, 0, 0][..], &emitted(attributes)].concat();
    let name = attribute(FAMILY_NAME, text("nbd"));
    let id = attribute(FAMILY_ID, 0x21u16.to_ne_bytes().into());
    let whole = message(0x10, 0, &body(&[name.clone(), id.clone(), attribute(GROUPS | NLA_F_NESTED, groups)]));
    assert_eq!(family(&said(&whole)), Some(Family { id: 0x21, group: 9 }));
    assert_eq!(family(&said(&message(0x10, 0, &body(&[name, id])))), None);
    let question = find_family().bytes(1);
    assert_eq!(question[4..6], [0x10, 0]);
    assert_eq!(question[16..], [&[3, 2, 0, 0, 8, 0, 2, 0][..], b"nbd\0"].concat());
}

#[test]
fn what_the_kernel_answers_is_understood() {
    let index = [8, 0, 1, 0, 4, 0, 0, 0];
    let of = |command: u8, body: &[u8]| said(&message(0x21, 0, &[&[command, 1, 0, 0], body].concat()));
    assert_eq!(connected(&of(1, &index)), Some(4));
    assert_eq!(link_dead(&of(4, &index)), Some(4));
    assert_eq!(connected(&of(4, &index)), None);
    assert_eq!(link_dead(&of(1, &index)), None);
    assert_eq!(link_dead(&of(4, &[])), None);
    // Two devices, the second of which is connected.
    let devices = [
        &[44, 0, 9, 0x80][..],
        &[20, 0, 1, 0x80, 8, 0, 1, 0, 0, 0, 0, 0, 5, 0, 2, 0, 0, 0, 0, 0],
        &[20, 0, 1, 0x80, 8, 0, 1, 0, 4, 0, 0, 0, 5, 0, 2, 0, 1, 0, 0, 0],
    ]
    .concat();
    let devices = of(5, &devices);
    assert_eq!([0, 4, 7].map(|index| status(&devices, index)), [Some(false), Some(true), None]);
    assert_eq!(status(&of(5, &[]), 0), None);
}

#[test]
fn an_answer_and_its_end_come_together_or_not() {
    let reply = message(0x21, 0, &[1, 1, 0, 0, 8, 0, 1, 0, 4, 0, 0, 0]);
    let question = Request::Disconnect(1).packet(0x21).bytes(1);
    let end = |code: i32| message(2, 0, &[&code.to_ne_bytes()[..], &question[..16]].concat());
    let both = answers(&[reply, end(0)].concat());
    assert!(matches!(both[..], [Answer::Said(_), Answer::Done]), "{both:?}");
    match &answers(&end(-16))[..] {
        [Answer::Refused(why)] => assert_eq!(why.raw_os_error(), Some(16)),
        other => panic!("{other:?}"),
    }
    assert!(matches!(answers(&message(3, 2, &[0; 4]))[..], [Answer::Done]));
    assert!(matches!(answers(&message(1, 0, &[]))[..], [Answer::Else]));
}

proptest! {
    #[test]
    fn no_bytes_break_it(bytes in proptest::collection::vec(any::<u8>(), 0..200), length in 0u32..80, kind in 0u16..40) {
        let mut framed = bytes.clone();
        if framed.len() > 6 {
            framed[..4].copy_from_slice(&length.to_ne_bytes());
            framed[4..6].copy_from_slice(&kind.to_ne_bytes());
        }
        for answer in [answers(&bytes), answers(&framed), answers(&message(kind, 0, &bytes))].into_iter().flatten() {
            if let Answer::Said(packet) = answer {
                _ = (family(&packet), connected(&packet), link_dead(&packet), status(&packet, 0));
            }
        }
    }

    #[test]
    fn what_is_asked_is_what_is_read(
        index in proptest::option::of(any::<u32>()),
        size: u64,
        server_flags: u16,
        socket: i32,
        dead in 0u64..1 << 40,
        identity in "[A-Za-z0-9._:-]{1,255}",
    ) {
        let backend = Backend::new("v".parse().unwrap(), &identity).unwrap();
        let dead_timeout = Duration::from_secs(dead);
        let device = Connect { index, size, server_flags, dead_timeout, backend, ..device() };
        let all = read(&Request::Connect(device, socket).packet(30).bytes(1));
        let get = |kind: u16| all.iter().find(|(one, _)| *one == kind).map(|(_, value)| value.clone());
        prop_assert_eq!(get(1), index.map(|index| index.to_ne_bytes().to_vec()));
        prop_assert_eq!(get(2).unwrap(), size.to_ne_bytes());
        prop_assert_eq!(get(5).unwrap(), u64::from(server_flags).to_ne_bytes());
        prop_assert_eq!(get(8).unwrap(), dead.to_ne_bytes());
        prop_assert_eq!(get(10).unwrap(), format!("crucible/v@{identity}\0").into_bytes());
        let sockets = get(7).unwrap();
        let item = attributes(&sockets).next().unwrap();
        let part = attributes(item.value()).next().unwrap();
        prop_assert_eq!(part.value(), socket.to_ne_bytes());
    }
}
