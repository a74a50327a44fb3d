use super::*;
use proptest::prelude::*;

/// Drive a handshake with what a server has ready, and return what it was sent as well. The rest of the server's
/// bytes is what belongs to its requests.
fn drive(name: &str, server: &[u8]) -> (Result<Export, HandshakeError>, Vec<u8>, usize) {
    let (mut handshake, mut length) = Handshake::begin(name).unwrap();
    let (mut rest, mut sent) = (server, Vec::new());
    loop {
        let Some((bytes, after)) = rest.split_at_checked(length) else {
            return (Err(HandshakeError::Broken("the server has ended")), sent, rest.len());
        };
        rest = after;
        match handshake.take(bytes) {
            Ok(Next::Exchange(send, then)) => {
                assert!(then > 0, "nothing is to be read");
                sent.extend(send);
                length = then;
            }
            Ok(Next::Done(export)) => return (Ok(export), sent, rest.len()),
            Err(why) => return (Err(why), sent, rest.len()),
        }
    }
}

fn greeting(flags: u16) -> Vec<u8> {
    [b"NBDMAGICIHAVEOPT".as_slice(), &flags.to_be_bytes()].concat()
}

fn reply(kind: u32, content: &[u8]) -> Vec<u8> {
    [
        &0x0003_e889_0455_65a9_u64.to_be_bytes()[..],
        &7u32.to_be_bytes(),
        &kind.to_be_bytes(),
        &(content.len() as u32).to_be_bytes(),
        content,
    ]
    .concat()
}

fn export(size: u64, flags: u16) -> Vec<u8> {
    reply(3, &[&[0, 0][..], &size.to_be_bytes(), &flags.to_be_bytes()].concat())
}

fn blocks(sizes: [u32; 3]) -> Vec<u8> {
    reply(3, &[&[0, 3][..], &sizes.map(u32::to_be_bytes).concat()].concat())
}

#[test]
fn an_export_is_asked_for_with_its_blocks() {
    // Something that is not known lies between, an answer of another kind, and behind it all two bytes of a server
    // that is early.
    let server = [
        greeting(3),
        reply(3, &[0, 1, b'n']),
        export(1 << 30, 0x25),
        blocks([1, 4096, 32 << 20]),
        reply(9, &[]),
        reply(1, &[]),
        vec![7, 7],
    ]
    .concat();
    let (export, sent, left) = drive("vol", &server);
    let blocks = Blocks { minimum: 1, preferred: 4096, maximum: 32 << 20 };
    assert_eq!(export, Ok(Export { size: 1 << 30, flags: 0x25, blocks: Some(blocks) }));
    assert_eq!(left, 2);
    let expected =
        [&[0, 0, 0, 3][..], b"IHAVEOPT", &[0, 0, 0, 7, 0, 0, 0, 11], &[0, 0, 0, 3], b"vol", &[0, 1, 0, 3]].concat();
    assert_eq!(sent, expected);
}

#[test]
fn a_server_that_does_not_know_go_is_asked_by_name() {
    let answer = [&(1u64 << 20).to_be_bytes()[..], &[0, 5]].concat();
    let plain = Export { size: 1 << 20, flags: 5, blocks: None };
    let by_name = [b"IHAVEOPT".as_slice(), &[0, 0, 0, 1, 0, 0, 0, 1], b"v"].concat();
    // The server says so, and leaves the zeroes away.
    let server = [greeting(3), reply(1 << 31 | 1, b"what?"), answer.clone()].concat();
    let (export, sent, left) = drive("v", &server);
    assert_eq!((export, left), (Ok(plain), 0));
    assert!(sent.ends_with(&by_name));
    // The server sends them.
    let server = [greeting(1), reply(1 << 31 | 1, &[]), answer.clone(), vec![0; 124], vec![9]].concat();
    let (export, sent, left) = drive("v", &server);
    assert_eq!((export, left), (Ok(plain), 1));
    assert_eq!(sent[..4], [0, 0, 0, 1]);
    // The server is one of before fixed newstyle, and is asked nothing else.
    let server = [greeting(0), answer, vec![0; 124]].concat();
    let (export, sent, left) = drive("v", &server);
    assert_eq!((export, left), (Ok(plain), 0));
    assert_eq!(sent, [&[0, 0, 0, 0], &by_name[..]].concat());
}

#[test]
fn what_is_refused_says_why() {
    let of = |server: &[Vec<u8>]| drive("v", &server.concat()).0.unwrap_err();
    let error = |kind: u32, text: &str| of(&[greeting(3), reply(1 << 31 | kind, text.as_bytes())]);
    assert_eq!(error(6, "no v\n").to_string(), "the NBD server has no export of this name, and says: no v");
    assert_eq!(error(6, ""), HandshakeError::Unknown(String::new()));
    assert_eq!(error(5, ""), HandshakeError::Tls(String::new()));
    assert_eq!(error(7, ""), HandshakeError::ShutsDown(String::new()));
    assert_eq!(error(2, "not you"), HandshakeError::Refused { number: 2, text: "not you".into() });
    assert_eq!(of(&[b"SSH-2.0-OpenSSH_10.0".to_vec()]), HandshakeError::NoServer);
    assert_eq!(of(&[b"NBDMAGIC".to_vec(), vec![0; 10]]), HandshakeError::NoServer);
    let old = [b"NBDMAGIC".as_slice(), &0x0000_4202_8186_1253u64.to_be_bytes(), &[0, 0]].concat();
    assert_eq!(of(&[old]), HandshakeError::OldStyle);
    let broken = [
        reply(1, &[]),
        reply(3, &[0]),
        reply(3, &[0, 0, 1]),
        blocks([3, 4096, 8192]),
        blocks([4096, 512, 8192]),
        [&[0; 8][..], &reply(1, &[])[8..]].concat(),
        [&reply(1, &[])[..8], &[0, 0, 0, 1], &reply(1, &[])[12..]].concat(),
        [&reply(3, &[])[..16], &u32::MAX.to_be_bytes()].concat(),
    ];
    for one in broken {
        let why = of(&[greeting(3), one.clone()]);
        assert!(matches!(why, HandshakeError::Broken(text) if text != "the server has ended"), "{one:?}: {why}");
    }
    assert_eq!(Handshake::begin(&"x".repeat(4097)).err(), Some(HandshakeError::LongName));
}

proptest! {
    #[test]
    fn no_server_breaks_it(flags: u16, bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        _ = drive("v", &bytes);
        _ = drive("v", &[greeting(flags), bytes.clone()].concat());
        _ = drive("v", &[greeting(3), reply(u32::from(flags), &bytes), bytes].concat());
    }

    #[test]
    fn nothing_is_read_that_is_not_its_own(
        size: u64,
        flags: u16,
        infos in proptest::collection::vec((4u16.., proptest::collection::vec(any::<u8>(), 0..40)), 0..5),
        early in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let infos = infos.iter().map(|(kind, text)| reply(3, &[&kind.to_be_bytes()[..], text].concat()));
        let server = [vec![greeting(3)], infos.collect(), vec![export(size, flags), reply(1, &[]), early.clone()]].concat();
        let (export, _, left) = drive("v", &server.concat());
        prop_assert_eq!(export, Ok(Export { size, flags, blocks: None }));
        prop_assert_eq!(left, early.len());
    }
}
