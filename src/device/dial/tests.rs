use super::*;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream as Peer};
use std::thread;

const ANSWER_LIMIT: Duration = Duration::from_secs(60);

fn told(size: u64) -> Vec<u8> {
    let head = |kind: u32, length: u32| {
        [&0x0003_e889_0455_65a9_u64.to_be_bytes()[..], &7u32.to_be_bytes(), &kind.to_be_bytes(), &length.to_be_bytes()]
            .concat()
    };
    [head(3, 12), vec![0, 0], size.to_be_bytes().into(), vec![0, 5], head(1, 0)].concat()
}

#[tokio::test]
async fn what_the_server_says_early_is_left_to_the_kernel() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nbd");
    let listener = UnixListener::bind(&path).unwrap();
    let server = thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        client.write_all(b"NBDMAGICIHAVEOPT\0\x03").unwrap();
        client.read_exact(&mut [0; 4 + 16 + 9]).unwrap();
        client.write_all(&[told(1 << 20), b"early".to_vec()].concat()).unwrap();
    });
    let (socket, export) = dial(&Address::Unix(path), "v", ANSWER_LIMIT).await.unwrap();
    server.join().unwrap();
    assert_eq!(export, Export { size: 1 << 20, flags: 5, blocks: None });
    let mut rest = String::new();
    // The socket blocks, and nothing of it is missing.
    Peer::from(socket).read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "early");
}

#[tokio::test]
async fn a_server_that_does_not_serve_is_named_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nbd");
    let address = Address::Unix(path.clone());
    let why = dial(&address, "v", ANSWER_LIMIT).await.unwrap_err();
    assert!(matches!(why, Failure::Unreachable { .. }), "{why}");
    let listener = UnixListener::bind(&path).unwrap();
    let server = thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        client.write_all(b"NBDMAGICIHAVEOPT\0\x03").unwrap();
        drop(client);
        let (mut client, _) = listener.accept().unwrap();
        client.write_all(b"220 mail.example ESMTP\n").unwrap();
        listener
    });
    let why = dial(&address, "v", ANSWER_LIMIT).await.unwrap_err();
    assert!(matches!(why, Failure::Dropped { .. }), "{why}");
    let why = dial(&address, "v", ANSWER_LIMIT).await.unwrap_err();
    assert!(why.to_string().ends_with("nbd: what answers is no NBD server"), "{why}");
    let listener = server.join().unwrap();
    // The server accepts, and says nothing.
    let why = dial(&address, "v", Duration::from_millis(20)).await.unwrap_err();
    assert!(why.to_string().ends_with("has not answered in 0.02 s"), "{why}");
    drop(listener);
}
