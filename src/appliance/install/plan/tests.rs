//! What may be installed on, what has to be said first, and what is written then.

use super::*;
use crate::appliance::data::Data;
use crate::appliance::install::disk::{Block, foreign};

const ROOT: &str = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709";
const HASH: &str = "11111111-2222-3333-4444-555555555555";

fn partition(start_mib: u64, size_mib: u64, name: &str) -> Partition {
    let (start, size) = (start_mib * 2048, size_mib * 2048);
    Partition { start, size, kind: ROOT.into(), uuid: HASH.into(), name: name.into(), attrs: None }
}

/// The table of an image whose slots have so many MiB, and what comes behind.
fn table(slot: u64, behind: &[(u64, &str)]) -> Table {
    let parts = [(512, ESP), (slot, "s_1"), (8, "s-verity_1"), (slot, EMPTY), (8, EMPTY), (40, CONFIG)];
    let mut at = 1;
    let lay = |(size, name): &(u64, &str)| {
        at += size;
        partition(at - size, *size, name)
    };
    Table { label: "gpt".into(), id: Some("OLD".into()), partitions: parts.iter().chain(behind).map(lay).collect() }
}

fn source(configured: bool) -> Source {
    let brings = Brings { sled: Some("proper-raptor".parse().unwrap()), ..Brings::default() };
    Source { name: "sda".into(), table: table(800, &[(1024, MEMORY)]), brings: configured.then_some(brings) }
}

fn empty() -> Disk {
    let (name, path) = ("sdb".into(), "/dev/sdb".into());
    let block = Block { name, path, kind: "disk".into(), size: 8 << 30, sector_bytes: 512, ..Block::default() };
    Disk { block, table: Reading::None, holds: Holds::Nothing, taken: false, identity: Some("diskseq 7".into()) }
}

fn sled(slot: u64, regions: Option<&[&str]>) -> Disk {
    let regions = regions.map(|all| all.iter().map(|name| name.parse().unwrap()).collect());
    let table = Reading::Table(table(slot, &[(2048, MEMORY), (2000, DATA)]));
    Disk { table, holds: Holds::Sled(Data { regions, ..Data::default() }), ..empty() }
}

fn told_of(source: &Source, disk: &Disk, wish: Wish) -> String {
    told(&plan(source, disk, wish, Uuid::nil).unwrap(), source, disk)
}

fn refused(source: &Source, disk: &Disk, wish: Wish) -> String {
    plan(source, disk, wish, Uuid::nil).unwrap_err().join("; ")
}

#[test]
fn a_disk_that_is_in_use_or_cannot_hold_it_is_refused_whatever_is_said() {
    type Row = (fn(&mut Disk), &'static str);
    let part = |at: &str| Block {
        path: "/dev/sdb1".into(),
        kind: "part".into(),
        mountpoints: vec![Some(at.into())],
        ..Block::default()
    };
    assert_eq!(hindrances(&source(true), &empty()), Vec::<String>::new());
    let rows: [Row; 7] = [
        (|disk| disk.block.name = "sda".into(), "started from"),
        (|disk| disk.block.ro = true, "write-protected"),
        (|disk| disk.block.sector_bytes = 4096, "sectors of 4096 bytes"),
        (|disk| disk.block.size = 3 << 30, "it has 3 GiB, and"),
        (|disk| disk.table = Reading::Unreadable, "cannot be read"),
        (|disk| disk.taken = true, "in use by somebody else"),
        (|disk| disk.block.children = vec![Block { kind: "crypt".into(), ..Block::default() }], "lies on it"),
    ];
    for (change, why) in rows {
        let mut disk = empty();
        change(&mut disk);
        for wish in [Wish::Unsaid, Wish::Keep, Wish::Erase] {
            assert!(refused(&source(true), &disk, wish).contains(why), "{why}");
        }
    }
    let mut mounted = empty();
    mounted.block.children = vec![part("/mnt"), part("[SWAP]")];
    let why = refused(&source(true), &mounted, Wish::Erase);
    assert!(why.contains("/dev/sdb1 is mounted at /mnt") && why.contains("swapped out"), "{why}");
}

#[test]
fn regions_are_kept_or_given_up_as_somebody_says_and_never_by_themselves() {
    let some: Option<&[&str]> = Some(&["still-fawn-0", "pve-1"]);
    let rows = [
        (empty(), Wish::Unsaid, Ok(Fate::Erased)),
        (empty(), Wish::Erase, Ok(Fate::Erased)),
        (empty(), Wish::Keep, Err("no regions would be kept")),
        (sled(800, some), Wish::Unsaid, Err("(2 region(s): still-fawn-0, pve-1): --keep-regions")),
        (sled(800, None), Wish::Unsaid, Err("(regions that cannot be listed)")),
        (sled(800, Some(&[])), Wish::Unsaid, Ok(Fate::Erased)),
        (sled(800, some), Wish::Erase, Ok(Fate::Erased)),
        (sled(800, some), Wish::Keep, Ok(Fate::Kept)),
        (sled(400, some), Wish::Keep, Ok(Fate::KeptRegions)),
        (sled(100, some), Wish::Keep, Err("no room")),
    ];
    for (disk, wish, wanted) in rows {
        match (plan(&source(true), &disk, wish, Uuid::nil), wanted) {
            (Ok(plan), Ok(fate)) => assert_eq!(plan.fate, fate, "{:?} {wish:?}", disk.holds),
            (Err(why), Err(words)) => assert!(why.join("; ").contains(words), "{words}: {why:?}"),
            (got, wanted) => panic!("{:?} {wish:?}: {got:?}, and not {wanted:?}", disk.holds),
        }
    }
    assert!(refused(&source(false), &sled(400, some), Wish::Keep).contains("no configuration"));
    let told = told_of(&source(true), &sled(800, some), Wish::Erase);
    assert!(told.contains("2 REGION(S) ARE LOST: still-fawn-0, pve-1"), "{told}");
}

/// The data and what is remembered are at the same sectors, with the same identities, before and after.
#[test]
fn what_is_kept_stays_where_it_is_and_every_part_has_an_identity_of_its_own() {
    let disk = sled(800, None);
    let Reading::Table(before) = &disk.table else { panic!("there is one") };
    let made = plan(&source(true), &disk, Wish::Keep, || Uuid::from_u128(7)).unwrap();
    assert_eq!((&made.table.id, &made.table.partitions[PARTS..]), (&before.id, &before.partitions[PARTS..]));
    let own = |name: &str| made.table.named(name).unwrap().uuid != HASH;
    assert!(
        own(ESP) && own(CONFIG) && own(EMPTY) && !own("s_1") && !own("s-verity_1"),
        "the root is found by its hash"
    );
    let names = |plan: &Plan| plan.pieces.iter().map(|piece| piece.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&made), [ESP, "s_1", "s-verity_1", CONFIG]);
    let unconfigured = plan(&source(false), &disk, Wish::Keep, Uuid::nil).unwrap();
    assert_eq!(names(&unconfigured), [ESP, "s_1", "s-verity_1"], "the disk's own configuration stays");
    let other = plan(&source(true), &sled(400, None), Wish::Keep, Uuid::nil).unwrap();
    assert_eq!(other.table.partitions[PARTS..].iter().map(|one| &one.name).collect::<Vec<_>>(), [DATA]);
    let erased = plan(&source(false), &disk, Wish::Erase, Uuid::nil).unwrap();
    assert_eq!((erased.table.partitions.len(), erased.table.id.as_ref(), names(&erased).len()), (PARTS, None, 4));
}

#[test]
fn an_image_is_installed_from_a_stick_and_from_no_sleds_own_disk() {
    assert_eq!(no_source(&source(false)), None);
    let own = Source { table: table(800, &[(1024, MEMORY), (2048, DATA)]), ..source(true) };
    assert!(no_source(&own).is_some_and(|why| why.contains("own disk, with 2 GiB for its regions")));
    let bare = Source { table: Table { label: "gpt".into(), id: None, partitions: Vec::new() }, ..source(true) };
    assert!(no_source(&bare).is_some_and(|why| why.contains("parts of an image")));
}

#[test]
fn a_table_goes_to_sfdisk_and_comes_back() {
    let told = r#"{"partitiontable": {"label": "gpt", "id": "A", "unit": "sectors", "sectorsize": 512, "partitions": [
        {"node": "/dev/sda1", "start": 2048, "size": 4096, "type": "T", "uuid": "u", "name": "esp"},
        {"node": "/dev/sda2", "start": 6144, "size": 8, "type": "T", "uuid": "V", "attrs": "GUID:59"}]}}"#;
    let table = Table::parse(told.as_bytes()).unwrap();
    let script = "label: gpt\nlabel-id: A\nunit: sectors\n\n\
                  start=2048, size=4096, type=T, uuid=u, name=\"esp\"\n\
                  start=6144, size=8, type=T, uuid=V, attrs=\"GUID:59\"\n";
    assert_eq!(table.script(), script);
    let mut written = table.clone();
    written.partitions[0].uuid = "U".into();
    assert!(table.is_as_written(&Table { id: None, ..written.clone() }), "a GUID is one in capital letters as well");
    written.partitions[1].start += 1;
    assert!(!table.is_as_written(&written) && Table::parse(b"x").is_err());
}

#[test]
fn what_is_on_a_disk_is_said_in_its_own_words() {
    let part = |label: Option<&str>, kind: Option<&str>| Block {
        label: label.map(str::to_owned),
        fstype: kind.map(str::to_owned),
        ..Block::default()
    };
    let with = |children: Vec<Block>| Block { children, ..empty().block };
    assert_eq!(foreign(&with(Vec::new()), &Reading::None), Holds::Nothing);
    let windows = with(vec![part(None, None), part(Some("Windows"), Some("ntfs"))]);
    assert_eq!(foreign(&windows, &Reading::None).said(), "ntfs \"Windows\"");
    let hidden = Reading::Table(table(8, &[]));
    assert_eq!(foreign(&with(Vec::new()), &hidden).said(), "6 partition(s)", "the kernel shows none of them");
    let regions = Some(vec!["pve-1".parse().unwrap()]);
    let sled = Holds::Sled(Data { sled: Some("proper-raptor".parse().unwrap()), regions, beside: Vec::new() });
    assert_eq!(sled.said(), "the sled proper-raptor, with 1 region(s): pve-1");
}

/// A stick that was started in one sled does not make that sled of another, whose regions and memory stay.
#[test]
fn a_disk_becomes_the_sled_that_was_told_and_no_other() {
    let of = |slot: u64, name: &str| {
        let data = Data { sled: Some(name.parse().unwrap()), ..Data::none() };
        Disk { holds: Holds::Sled(data), ..sled(slot, Some(&[])) }
    };
    let rows = [
        (
            source(true),
            empty(),
            Wish::Unsaid,
            Configuration::Stick,
            "It becomes the sled proper-raptor, by the stick's",
        ),
        (source(false), empty(), Wish::Unsaid, Configuration::None, "It has no configuration"),
        (
            source(true),
            of(800, "proper-raptor"),
            Wish::Keep,
            Configuration::Stick,
            "It becomes the sled proper-raptor, by",
        ),
        (
            source(true),
            of(800, "other"),
            Wish::Keep,
            Configuration::Disk,
            "The configuration of the sled other stays; the stick's is that of the sled proper-raptor, and does not",
        ),
        (
            source(false),
            of(800, "other"),
            Wish::Keep,
            Configuration::Disk,
            "The configuration of the sled other stays.",
        ),
        (source(true), of(800, "other"), Wish::Erase, Configuration::Stick, "It becomes the sled proper-raptor"),
        (source(true), of(400, "proper-raptor"), Wish::Keep, Configuration::Stick, "It becomes the sled proper-raptor"),
    ];
    for (source, disk, wish, configuration, words) in rows {
        let plan = plan(&source, &disk, wish, Uuid::nil).unwrap();
        let carries = plan.pieces.iter().any(|piece| piece.name == CONFIG);
        assert_eq!((plan.configuration, carries), (configuration, configuration != Configuration::Disk), "{words}");
        assert!(told(&plan, &source, &disk).contains(words), "{}, and not {words}", told(&plan, &source, &disk));
    }
    let why = refused(&source(true), &of(400, "other"), Wish::Keep);
    assert!(why.contains("brings that of the sled proper-raptor, and not of other"), "{why}");
    let faulty = Source { brings: Some(Brings::default()), ..source(true) };
    assert!(told_of(&faulty, &empty(), Wish::Unsaid).contains("a sled whose configuration has faults"));
}

#[test]
fn a_stick_whose_configuration_is_in_several_files_is_told_or_refused() {
    let several = Brings { fragments: vec!["sled.toml.d/10-own.toml".into()], ..Brings::default() };
    let told = told_of(&Source { brings: Some(several), ..source(true) }, &empty(), Wish::Unsaid);
    assert!(told.contains("by the stick's configuration, with sled.toml.d/10-own.toml."), "{told}");
    assert!(!told.contains("goes before it"), "{told}");
    // The disk's own fragments stay with its memory.
    let data = Data { sled: "proper-raptor".parse().ok(), ..Data::none() };
    let own = Disk { holds: Holds::Sled(data), ..sled(800, Some(&[])) };
    let told = told_of(&source(true), &own, Wish::Keep);
    assert!(
        told.contains("What lies in sled.toml.d on the disk under other names stays, and goes before sled.toml."),
        "{told}"
    );
    // What cannot go as it is goes nowhere; where the disk's own configuration stays that is no matter.
    let unfit = Some("sled.toml.d/a:b.toml: x".to_owned());
    let source = Source { brings: source(true).brings.map(|brings| Brings { unfit, ..brings }), ..source(true) };
    let why = refused(&source, &empty(), Wish::Unsaid);
    assert!(why.contains("cannot as it is: sled.toml.d/a:b.toml: x"), "{why}");
    let data = Data { sled: "other".parse().ok(), ..Data::none() };
    let others = Disk { holds: Holds::Sled(data), ..sled(800, Some(&[])) };
    plan(&source, &others, Wish::Keep, Uuid::nil).unwrap();
}

/// A disk that can be taken out and has no data is a stick at boot: nothing is installed that would serve nothing.
#[test]
fn a_disk_that_would_be_a_stick_is_refused_unless_its_data_stay() {
    let removable = |mut disk: Disk| {
        disk.block.rm = true;
        disk
    };
    for wish in [Wish::Unsaid, Wish::Erase] {
        assert!(refused(&source(true), &removable(empty()), wish).contains("would be a stick"), "{wish:?}");
    }
    let some: Option<&[&str]> = Some(&["pve-1"]);
    assert!(refused(&source(true), &removable(sled(800, some)), Wish::Erase).contains("would be a stick"));
    assert!(plan(&source(true), &removable(sled(800, some)), Wish::Keep, Uuid::nil).is_ok());
}

#[test]
fn a_disk_that_is_not_the_one_that_was_shown_is_seen() {
    type Row = (fn(&mut Disk), Option<&'static str>);
    let rows: [Row; 7] = [
        (|_| {}, None),
        (|disk| disk.taken = true, None),
        (|disk| disk.identity = Some("diskseq 8".into()), Some("another disk")),
        (|disk| disk.block.serial = Some("S2".into()), Some("another disk")),
        (|disk| disk.block.size += 512, Some("another disk")),
        (|disk| disk.table = Reading::None, Some("partitions")),
        (|disk| disk.holds = Holds::Sled(Data::default()), Some("what lies on it")),
    ];
    for (change, wanted) in rows {
        let (shown, mut now) = (sled(800, Some(&[])), sled(800, Some(&[])));
        change(&mut now);
        let why = now.is_other_than(&shown);
        assert!(
            why.is_some() == wanted.is_some() && why.unwrap_or_default().contains(wanted.unwrap_or_default()),
            "{why:?}"
        );
    }
}
