//! A directory storage of Proxmox on the mounted volume: what `pvesh` says, and what `pvesm` is to be told. Pure.
//!
//! The storages are one file for a whole cluster: what is declared without nodes is declared for all, and a node
//! on which nothing is mounted would fill its own disk.

use super::facts::{Proxmox, Storage, Wanted};
pub(super) use super::step::Change;
use super::step::{Action, Verdict};
use super::trouble;
use crate::wire::Error;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// The content that a storage is for, unless it is said.
const USUAL: &str = "images,vztmpl,iso,backup";

/// Read the storages in an answer to `pvesh get /storage`.
///
/// # Errors
/// If the answer is something else.
pub(super) fn storages(text: &str) -> serde_json::Result<Vec<Storage>> {
    let list: Vec<Value> = serde_json::from_str(text)?;
    let text = |value: &Value, key: &str| value[key].as_str().map(str::to_owned);
    let each = list.iter().filter_map(|value| {
        Some(Storage {
            name: text(value, "storage")?,
            kind: text(value, "type")?,
            path: text(value, "path").map(Into::into),
            content: text(value, "content").map(|list| set(&list)).unwrap_or_default(),
            nodes: text(value, "nodes").map(|list| set(&list)),
            is_mountpoint: is_mountpoint(&value["is_mountpoint"], value["path"].as_str().unwrap_or_default()),
        })
    });
    Ok(each.collect())
}

/// Read whether a storage needs its mount: a boolean, or the path of the mountpoint.
fn is_mountpoint(value: &Value, path: &str) -> bool {
    match value {
        Value::String(text) => ["yes", "on", "true", "1", path].contains(&text.as_str()),
        Value::Number(number) => number.as_u64() == Some(1),
        value => value == &Value::Bool(true),
    }
}

/// Read the nodes in an answer to `pvesh get /nodes`.
///
/// # Errors
/// If the answer is something else.
pub(super) fn nodes(text: &str) -> serde_json::Result<BTreeSet<String>> {
    let list: Vec<Value> = serde_json::from_str(text)?;
    Ok(list.iter().filter_map(|value| value["node"].as_str().map(str::to_owned)).collect())
}

fn set(list: &str) -> BTreeSet<String> {
    list.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn list(set: &BTreeSet<String>) -> String {
    set.iter().map(String::as_str).collect::<Vec<_>>().join(",")
}

/// Judge how this node gets a storage at a path.
///
/// # Errors
/// If something else has the storage's name, or it has another.
pub(super) fn wanted(wanted: &Wanted, proxmox: &Proxmox, path: &Path) -> Result<Verdict, Error> {
    let there = proxmox.storages.iter().find(|storage| storage.path.as_deref() == Some(path));
    let usual = || format!("crucible-{}", wanted.volume);
    let name = wanted.storage.clone().or_else(|| there.map(|there| there.name.clone())).unwrap_or_else(usual);
    if let Some(there) = there.filter(|there| there.name != name) {
        return Err(trouble::storage_named(&there.name, path));
    }
    match proxmox.storages.iter().find(|storage| storage.name == name) {
        None => Ok(add(wanted, proxmox, path, &name)),
        Some(storage) if storage.kind != "dir" || storage.path.as_deref() != Some(path) => {
            let at = storage.path.as_ref().map(|path| format!(" at {}", path.display())).unwrap_or_default();
            Err(trouble::storage_taken(&name, &format!("{}{at}", storage.kind)))
        }
        Some(storage) => Ok(joined(wanted, proxmox, storage)),
    }
}

fn add(wanted: &Wanted, proxmox: &Proxmox, path: &Path, name: &str) -> Verdict {
    let content = wanted.content.as_deref().unwrap_or(USUAL);
    let (node, path) = (&proxmox.node, path.display().to_string());
    let mut words = vec!["add", "dir", name, "--path", &path, "--content", content, "--nodes", node];
    words.extend(["--is_mountpoint", "yes", "--create-base-path", "0", "--create-subdirs", "1", "--shared", "0"]);
    let what = format!("the storage {name} at {path} is added, for {content} and the node {node}");
    Verdict::Do(Action::Store(Change::of(&words)), what)
}

/// Have a storage that is there be for this node as well.
fn joined(wanted: &Wanted, proxmox: &Proxmox, storage: &Storage) -> Verdict {
    let (name, node) = (&storage.name, &proxmox.node);
    let mut words = vec!["set".to_owned(), name.clone()];
    let mut how = Vec::new();
    if let Some(nodes) = storage.nodes.as_ref().filter(|nodes| !nodes.contains(node)) {
        let mut nodes = nodes.clone();
        nodes.insert(node.clone());
        words.extend(["--nodes".into(), list(&nodes)]);
        how.push(format!("is for {} as well", node));
    }
    if !storage.is_mountpoint {
        words.extend(["--is_mountpoint".into(), "yes".into()]);
        how.push("is used only where something is mounted".into());
    }
    if let Some(content) = wanted.content.as_deref().filter(|content| set(content) != storage.content) {
        words.extend(["--content".into(), content.to_owned()]);
        how.push(format!("is for {content}"));
    }
    if !how.is_empty() {
        Verdict::Do(Action::Store(Change(words)), format!("the storage {name} {}", how.join(", ")))
    } else if storage.nodes.is_none() {
        Verdict::Already(format!("the storage {name} is there, for all nodes"))
    } else {
        Verdict::Already(format!("the storage {name} is there, for this node"))
    }
}

/// The change that takes this node away from the storages at a path, with what is to be said of it; none if it has
/// none there.
pub(super) fn unwanted(proxmox: &Proxmox, path: &Path) -> Option<(Change, String)> {
    let mine = |storage: &&Storage| {
        let for_this = storage.nodes.as_ref().is_none_or(|nodes| nodes.contains(&proxmox.node));
        storage.kind == "dir" && storage.path.as_deref() == Some(path) && for_this
    };
    let storage = proxmox.storages.iter().find(mine)?;
    let mut nodes = storage.nodes.clone().unwrap_or_else(|| proxmox.nodes.clone());
    nodes.remove(&proxmox.node);
    let (name, node) = (&storage.name, &proxmox.node);
    Some(if nodes.is_empty() {
        (
            Change::of(&["remove", name]),
            format!("the storage {name} is removed, for no other node has it; its data stays"),
        )
    } else {
        let nodes = list(&nodes);
        (
            Change::of(&["set", name, "--nodes", &nodes]),
            format!("the storage {name} is for {nodes} only, and not for {node}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::wanted as usually;
    use super::*;
    use crate::wire::Refusal;

    const STORAGES: &str = r#"[
        {"storage":"local","type":"dir","path":"/var/lib/vz","content":"iso,backup","shared":0,"digest":"x"},
        {"storage":"local-zfs","type":"zfspool","pool":"rpool/data","content":"images,rootdir"},
        {"storage":"crucible-storage","type":"dir","path":"/mnt/crucible-storage","content":"backup,images"},
        {"storage":"crucible-one","type":"dir","path":"/mnt/one","nodes":"pve","is_mountpoint":"yes","content":"images"},
        {"storage":"crucible-two","type":"dir","path":"/mnt/two","nodes":"pve,fawn","is_mountpoint":1,"content":"images"},
        {"storage":"crucible-three","type":"dir","path":"/mnt/three","nodes":"fawn","is_mountpoint":"/mnt/three","content":"images"}]"#;

    fn proxmox() -> Proxmox {
        let nodes = nodes(r#"[{"node":"pve","status":"online"},{"node":"fawn"}]"#).unwrap();
        Proxmox { node: "fawn".into(), nodes, storages: storages(STORAGES).unwrap() }
    }

    fn told(path: &str, change: impl FnOnce(&mut Wanted)) -> Result<String, String> {
        let mut wanted = usually();
        change(&mut wanted);
        match super::wanted(&wanted, &proxmox(), Path::new(path)) {
            Ok(Verdict::Do(Action::Store(change), _)) => Ok(change.0.join(" ")),
            Ok(Verdict::Already(what)) => Ok(format!("already: {what}")),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.code.to_string()),
        }
    }

    #[test]
    fn a_storage_is_for_the_nodes_that_have_it_mounted() {
        let taken = Err(Refusal::StorageTaken.to_string());
        let is = |text: &str| Ok(text.to_owned());
        assert_eq!(
            told("/mnt/crucible-v", |_| {}),
            is("add dir crucible-v --path /mnt/crucible-v --content images,vztmpl,iso,backup --nodes fawn \
                --is_mountpoint yes --create-base-path 0 --create-subdirs 1 --shared 0")
        );
        assert_eq!(told("/mnt/one", |_| {}), is("set crucible-one --nodes fawn,pve"));
        assert_eq!(told("/mnt/two", |_| {}), is("already: the storage crucible-two is there, for this node"));
        assert_eq!(
            told("/mnt/three", |wanted| wanted.content = Some("images".into())),
            is("already: the storage crucible-three is there, for this node")
        );
        assert_eq!(
            told("/mnt/three", |wanted| wanted.content = Some("iso,images".into())),
            is("set crucible-three --content iso,images")
        );
        // Declared by hand it is for all nodes: to name some now would take it from the others.
        assert_eq!(told("/mnt/crucible-storage", |_| {}), is("set crucible-storage --is_mountpoint yes"));
        for (path, name) in [
            ("/mnt/crucible-v", "local"),
            ("/mnt/crucible-v", "local-zfs"),
            ("/mnt/one", "crucible-two"),
            ("/mnt/one", "new"),
        ] {
            assert_eq!(told(path, |wanted| wanted.storage = Some(name.into())), taken, "{name} at {path}");
        }
    }

    #[test]
    fn a_storage_is_taken_from_this_node_alone() {
        let told = |path: &str| unwanted(&proxmox(), Path::new(path)).map(|(change, _)| change.0.join(" "));
        assert_eq!(told("/mnt/one"), None);
        assert_eq!(told("/mnt/two").as_deref(), Some("set crucible-two --nodes pve"));
        assert_eq!(told("/mnt/three").as_deref(), Some("remove crucible-three"));
        assert_eq!(told("/mnt/crucible-storage").as_deref(), Some("set crucible-storage --nodes pve"));
        assert_eq!(told("/mnt/none"), None);
    }

    #[test]
    fn what_is_no_list_is_said_to_be_none() {
        assert!(storages("storage 'x' does not exist").is_err() && nodes("{}").is_err());
    }
}
