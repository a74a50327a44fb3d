//! The description of the API before tools of others: one says that it is a description, the other holds a sled to it,
//! at both of its doors. What they cannot know is in `tests/faces`, with the reasons.

use super::Face;
use serde_json::Value;
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use support::hosts::Host;
use support::places::repository;
use tempfile::TempDir;

/// The directory of the tools that are Python's.
fn tools() -> PathBuf {
    let said = Command::new(repository("tests/faces/tools")).output().unwrap();
    assert!(said.status.success(), "{said:?}");
    String::from_utf8(said.stdout).unwrap().trim().into()
}

#[test]
fn a_validator_takes_the_description_for_one() {
    let validator = tools().join("openapi-spec-validator");
    let said = Command::new(validator).args(["--schema", "3.1"]).arg(repository("etc/openapi.json")).output().unwrap();
    assert!(said.status.success(), "{said:?}");
}

#[test]
fn a_sled_does_over_tcp_as_its_description_says() {
    let face = Face::boot();
    let url = face.url.clone();
    hold_to_its_word(&face, "tcp", &url);
}

#[test]
fn a_sled_does_at_its_socket_as_its_description_says() {
    let face = Face::boot();
    let url = lead(&face.outside(), face.socket.clone());
    hold_to_its_word(&face, "unix", &url);
}

/// Has schemathesis ask a sled at one of its doors for everything that is taken there, with every check.
fn hold_to_its_word(face: &Face, door: &str, url: &str) {
    let dir = tempfile::tempdir().unwrap();
    let description = described_at(face, door, &dir);
    let [config, hooks] = ["tests/faces/schemathesis.toml", "tests/faces/hooks.py"].map(repository);
    let mut command = face.outside().space.command(&["env"]);
    // Beside its hooks it would lay what Python makes of them.
    command.args([format!("SCHEMATHESIS_HOOKS={}", hooks.display()), "PYTHONDONTWRITEBYTECODE=1".into()]);
    command.arg(tools().join("schemathesis")).arg("--config-file").arg(config);
    command.args(["run", "--no-color", "--checks", "all", "--url", url]).arg(description).current_dir(dir.path());
    let said = command.output().unwrap();
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success(), "{text}\n{}", String::from_utf8_lossy(&said.stderr));
    println!("{text}");
}

/// The description that a sled answers with, without what is not taken at this door, in a file.
fn described_at(face: &Face, door: &str, dir: &TempDir) -> PathBuf {
    let asked = face.curl(true, "/openapi.json");
    let told = face.look(&asked.iter().map(String::as_str).collect::<Vec<_>>());
    let mut description: Value = serde_json::from_str(&told).unwrap();
    let file: Value = serde_json::from_slice(&std::fs::read(repository("etc/openapi.json")).unwrap()).unwrap();
    assert!(description == file, "a sled answers with another description than etc/openapi.json");
    let paths = description["paths"].as_object_mut().unwrap();
    for methods in paths.values_mut() {
        let here = |operation: &Value| operation["x-doors"].as_array().unwrap().iter().any(|at| at == door);
        methods.as_object_mut().unwrap().retain(|_, operation| here(operation));
    }
    paths.retain(|_, methods| methods != &Value::Object(Default::default()));
    let path = dir.path().join("openapi.json");
    std::fs::write(&path, description.to_string()).unwrap();
    path
}

/// Leads from a port of a host to a unix socket, and says where the port is: the tools know of no such socket.
fn lead(host: &Host, socket: PathBuf) -> String {
    let (space, (listens, heard)) = (host.space.clone(), mpsc::channel());
    thread::spawn(move || {
        space.enter();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listens.send(listener.local_addr().unwrap()).unwrap();
        for client in listener.incoming() {
            // A client that has gone already is nobody's concern.
            _ = client.and_then(|client| join(client, &socket));
        }
    });
    format!("http://{}", heard.recv().unwrap())
}

fn join(client: TcpStream, socket: &Path) -> io::Result<()> {
    let sled = UnixStream::connect(socket)?;
    let (mut from_client, mut to_sled) = (client.try_clone()?, sled.try_clone()?);
    let (mut from_sled, mut to_client) = (sled, client);
    thread::spawn(move || {
        _ = io::copy(&mut from_client, &mut to_sled);
        _ = to_sled.shutdown(Shutdown::Write);
    });
    thread::spawn(move || {
        _ = io::copy(&mut from_sled, &mut to_client);
        _ = to_client.shutdown(Shutdown::Both);
    });
    Ok(())
}
