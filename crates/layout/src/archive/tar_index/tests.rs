//! Behaviours of the index of a tar.

use proptest::prelude::*;

use super::super::link::LinkKind;
use super::*;
use transship_oci::Result;
use transship_testkit::layouts::Tar;

/// Reads all of `tar` through the machine; what it holds, or the code it is refused by.
fn index(tar: &[u8]) -> Result<BTreeMap<String, Place>, &'static str> {
    let mut index = TarIndex::new();
    while let Wanted::Bytes { offset, length } = index.wanted() {
        let from = usize::try_from(offset).unwrap();
        let to = from.saturating_add(usize::try_from(length).unwrap());
        let Some(bytes) = tar.get(from..to) else { break };
        if let Err(kind) = index.take(bytes) {
            return Err(kind.code());
        }
    }
    Ok(index.into_places())
}

fn file(offset: u64, size: u64) -> Place {
    Place::File(Span {
        offset,
        size,
        seen: None,
    })
}

#[test]
fn files_are_found_under_names_of_any_length() {
    let long = format!("{}/x", "d".repeat(300));
    let tar = Tar::new()
        .file("./a", b"1")
        .file(&long, b"22")
        .pax(&[("path", "p/q")])
        .file("short", b"333")
        .end();
    let places = index(&tar).unwrap();
    assert_eq!(places["a"], file(512, 1));
    assert_eq!(places[&long].size(), Some(2));
    assert_eq!(places["p/q"].size(), Some(3));
    assert!(!places.contains_key("short"));
}

/// A name whose first 100 bytes end in a slash, as in every storage tree.
fn cut_at_a_slash() -> String {
    let name = format!("docker/registry/v2/blobs/sha256/2c/{}/data", "2c".repeat(32));
    assert!(name[..100].ends_with('/'), "{name}");
    name
}

#[test]
fn a_file_with_a_long_name_is_no_folder_if_the_cut_name_ends_in_a_slash() {
    let name = cut_at_a_slash();
    let gnu = Tar::new().file(&name, b"22").file("next", b"1").end();
    let pax = Tar::new()
        .pax(&[("path", &name)])
        .special(b'0', &name[..100], b"22")
        .file("next", b"1")
        .end();
    for tar in [gnu, pax] {
        let places = index(&tar).unwrap();
        assert_eq!(places[&name].size(), Some(2));
        assert!(places.contains_key("next"));
    }
}

#[test]
fn a_folder_is_told_by_its_whole_name() {
    let name = format!("{}/folder/", "d".repeat(120));
    let with = |bytes: &[u8]| Tar::new().file(&name, bytes).file("next", b"1").end();
    let places = index(&with(b"")).unwrap();
    assert_eq!(places.into_keys().collect::<Vec<_>>(), ["next"]);
    assert_eq!(index(&with(b"x")), Err("ARCHIVE_INVALID"));
}

#[test]
fn an_old_header_that_some_readers_take_for_a_folder_has_no_data() {
    let name = cut_at_a_slash();
    let record = [name.as_bytes(), b"\0"].concat();
    let tar = |bytes: &[u8]| {
        Tar::new()
            .special(b'L', "././@LongLink", &record)
            .special(0, &name[..100], bytes)
            .end()
    };
    assert_eq!(index(&tar(b"22")), Err("ARCHIVE_INVALID"));
    assert!(index(&tar(b"")).is_ok());
}

#[test]
fn the_target_of_a_link_may_be_long() {
    let (name, target) = (format!("{}/link", "n".repeat(150)), format!("../{}/x", "t".repeat(150)));
    let gnu = Tar::new().link(b'2', &name, &target).end();
    let pax = Tar::new()
        .pax(&[("path", &name), ("linkpath", &target)])
        .link(b'2', "short", "short")
        .end();
    for tar in [gnu, pax] {
        assert_eq!(
            index(&tar).unwrap()[&name],
            Place::Link(Link::new(LinkKind::Symbolic, target.as_bytes()).unwrap())
        );
    }
    let two = Tar::new()
        .special(b'K', "././@LongLink", b"a\0")
        .pax(&[("linkpath", "b")])
        .link(b'1', "link", "a")
        .end();
    let global = Tar::new()
        .special(b'g', "g", b"16 linkpath=abc\n")
        .link(b'2', "a", "b")
        .end();
    for tar in [two, global] {
        assert_eq!(index(&tar), Err("ARCHIVE_INVALID"));
    }
}

#[test]
fn what_readers_take_differently_is_refused() {
    let smuggle = Tar::new().pax(&[("size", "512")]).file("a", b"").file("b", b"x").end();
    let lying = Tar::new().pax(&[("size", "0")]).file("a", &[0; 512]).end();
    let global = Tar::new().special(b'g', "g", b"12 path=abc\n").file("a", b"").end();
    let two_names = Tar::new()
        .pax(&[("path", "a")])
        .special(b'L', "././@LongLink", b"b\0")
        .file("c", b"")
        .end();
    let fat_link = Tar::new().special(b'2', "a", b"data").end();
    let fat_hard_link = Tar::new().special(b'1', "a", b"data").end();
    let sparse = Tar::new().special(b'S', "a", b"").end();
    for (at, tar) in [smuggle, lying, global, two_names, fat_link, fat_hard_link, sparse]
        .iter()
        .enumerate()
    {
        assert_eq!(index(tar), Err("ARCHIVE_INVALID"), "{at}");
    }
    let mut flipped = Tar::new().file("a", b"x").end();
    flipped[3] ^= 1;
    assert_eq!(index(&flipped), Err("ARCHIVE_INVALID"));
    assert_eq!(index(&[b'x'; 1024]), Err("ARCHIVE_INVALID"));
}

#[test]
fn what_has_no_data_is_given_none_by_its_records() {
    let hidden = Tar::new().file("hidden", b"x").unended();
    let smuggled = |kind: u8, name: &str, size: &str| {
        let tar = Tar::new().pax(&[("size", size)]).special(kind, name, b"").unended();
        [tar, hidden.clone()].concat()
    };
    for (kind, name) in [
        (b'5', "folder"),
        (b'0', "folder/"),
        (b'2', "link"),
        (b'3', "device"),
        (b'V', "label"),
    ] {
        for size in ["512", "8589934592"] {
            assert_eq!(
                index(&smuggled(kind, name, size)),
                Err("ARCHIVE_INVALID"),
                "{name} of {size}"
            );
        }
        assert!(
            index(&smuggled(kind, name, "0")).unwrap().contains_key("hidden"),
            "{name}"
        );
    }
}

#[test]
fn sizes_and_records_beyond_measure_are_refused() {
    let endless = Tar::new().entry(b'0', "a", u64::MAX, b"").end();
    let long_name = Tar::new().entry(b'L', "././@LongLink", 1 << 30, b"a").end();
    let long_record = Tar::new().entry(b'x', "pax", 1 << 40, b"a").end();
    let malformed = Tar::new().special(b'x', "pax", b"99 path=a\n").file("b", b"").end();
    for (at, tar) in [endless, long_name, long_record, malformed].iter().enumerate() {
        assert_eq!(index(tar), Err("ARCHIVE_INVALID"), "{at}");
    }
    let mut letters = Tar::new().file("a", b"x").unended();
    letters[124..135].copy_from_slice(b"99999999999");
    let mut header = tar::Header::from_byte_slice(&letters[..512]).clone();
    header.set_cksum();
    letters[..512].copy_from_slice(header.as_bytes());
    assert_eq!(
        index(&letters),
        Err("ARCHIVE_INVALID"),
        "a size that is not an octal number"
    );
}

#[test]
fn devices_sparse_files_and_links_without_a_target_are_no_files() {
    let tar = Tar::new()
        .special(b'1', "hard", b"")
        .special(b'2', "soft", b"")
        .special(b'3', "device", b"")
        .special(b'6', "pipe", b"")
        .special(b'V', "label", b"xx")
        .pax(&[("GNU.sparse.major", "1")])
        .file("sparse", b"x")
        .file("hard", b"x")
        .special(b'2', "file", b"")
        .file("file", b"x")
        .end();
    let places = index(&tar).unwrap();
    assert_eq!(places.len(), 7);
    assert!(
        places.values().all(|place| matches!(place, Place::Unsafe(_))),
        "{places:?}"
    );
}

#[test]
fn a_name_that_stands_twice_is_kept_as_two() {
    let tar = Tar::new().file("a", b"1").file("./a", b"2").end();
    assert!(matches!(&index(&tar).unwrap()["a"], Place::Several(spans) if spans.len() == 2));
}

#[test]
fn what_lies_behind_the_end_is_not_there() {
    let tar = [Tar::new().file("a", b"1").end(), Tar::new().file("b", b"1").end()].concat();
    assert_eq!(index(&tar).unwrap().into_keys().collect::<Vec<_>>(), ["a"]);
}

proptest! {
    #[test]
    fn damage_is_refused_and_never_a_crash(at in 0usize..4096, bits in 1u8..=255) {
        let mut tar = Tar::new().file("a", &[7; 600]).pax(&[("path", "b")]).file("x", b"22").file(&"n".repeat(200), b"3").end();
        let at = at % tar.len();
        tar[at] ^= bits;
        let _ = index(&tar);
    }
}
