//! Streams of every kind, each with what must come of it. They are the fuzz target's corpus too.

use super::making::{Item, Tar, gzip, header, record};

/// A stream and what must come of it: the listing's snapshot, or a part of the error.
pub struct Case {
    pub name: &'static str,
    pub blob: Vec<u8>,
    pub error: Option<&'static str>,
}

pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, blob) in good() {
        cases.push(Case { name, blob, error: None });
    }
    for (name, blob, error) in hostile_names().into_iter().chain(hostile_content()).chain(damaged()) {
        cases.push(Case { name, blob, error: Some(error) });
    }
    cases
}

fn good() -> Vec<(&'static str, Vec<u8>)> {
    let mut cases = plain();
    cases.extend(whiteouts());
    cases.extend(duplicates());
    cases.extend(sparse());
    cases
}

fn plain() -> Vec<(&'static str, Vec<u8>)> {
    let tar = Tar::default;
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(200));
    let root = |mode| tar().dir("./", mode);
    vec![
        ("empty", tar().end()),
        ("nothing-at-all", Vec::new()),
        ("no-end", tar().file("a", b"x").bytes),
        ("one-zero-block-at-the-end", tar().file("a", b"x").raw(&[0; 512]).bytes),
        ("rubbish-after-the-end", tar().file("a", b"x").raw(&[0; 1024]).raw(&[7; 700]).bytes),
        ("root-with-mode", root(0o700).end()),
        ("file-and-folder", tar().dir("a", 0o2750).file("a/b", b"content").end()),
        ("dot-slash", root(0o755).dir("./a/", 0o755).file("./a/./b", b"c").file(".//a//c", b"d").end()),
        ("missing-parents", tar().file("a/b/c", b"x").file("d/e", b"y").end()),
        ("parent-after-child", tar().file("a/b", b"x").dir("a", 0o711).end()),
        ("symlinks", tar().symlink("a", "/etc/x").symlink("b", "../../out").symlink("c", "c").end()),
        ("hard-links", tar().file("a", b"x").link("d/b", "a").link("c", "./d/b").end()),
        ("hard-link-to-symlink", tar().symlink("a", "t").link("b", "a").end()),
        (
            "devices",
            tar().device(b'3', "n", (1, 3)).device(b'4', "s", (259, 70_000)).device(b'6', "p", (0, 0)).end(),
        ),
        ("content-of-whole-blocks", tar().file("a", &[1; 1024]).file("b", &[2; 513]).file("c", b"").end()),
        (
            "setuid",
            tar().item(Item { name: b"su", mode: 0o4755, uid: 7, gid: 8, ..Item::default() }, b"x").end(),
        ),
        (
            "large-ids",
            tar().item(Item { name: b"a", uid: 3_000_000, gid: 4_294_967_294, ..Item::default() }, b"").end(),
        ),
        ("pax-ids", tar().pax(&[("uid", b"70000"), ("gid", b"80000")]).file("a", b"").end()),
        (
            "pax-path-and-link",
            tar().pax(&[("path", long.as_bytes()), ("mtime", b"12.5")]).file("short", b"x").end(),
        ),
        ("pax-link", tar().pax(&[("linkpath", long.as_bytes())]).symlink("a", "short").end()),
        (
            "pax-size",
            tar()
                .pax(&[("size", b"5")])
                .header(&header(&Item { name: b"a", ..Item::default() }, 0))
                .content(b"12345")
                .end(),
        ),
        ("pax-before-1970", tar().pax(&[("mtime", b"-5.25")]).file("a", b"").end()),
        (
            "gnu-long-names",
            tar()
                .extension(b'L', format!("{long}\0").as_bytes())
                .file("x", b"y")
                .extension(b'K', b"target\0")
                .symlink("s", "short")
                .end(),
        ),
        ("global-comment", tar().extension(b'g', &record("comment", b"v1")).file("a", b"").end()),
        (
            "strange-names",
            tar()
                .file("line\nfeed", b"")
                .file("sp ace=%", b"")
                .item(Item { name: b"\xff\xfe", ..Item::default() }, b"")
                .end(),
        ),
        (
            "attributes",
            tar()
                .pax(&[
                    ("SCHILY.xattr.user.a", b"b\0c\n"),
                    ("SCHILY.xattr.security.capability", b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
                    ("SCHILY.xattr.security.selinux", b"gone"),
                    ("SCHILY.xattr.trusted.x", b"gone"),
                    ("LIBARCHIVE.xattr.user.a", b"Yg=="),
                ])
                .file("a", b"")
                .pax(&[("SCHILY.xattr.user.d", b"e")])
                .dir("d", 0o755)
                .end(),
        ),
        ("gzip", gzip(&tar().file("a", b"x").end())),
        ("gzip-in-pieces", [gzip(&tar().file("a", b"x").bytes), gzip(&tar().file("b", b"y").end())].concat()),
        ("zstd", zstd::encode_all(&tar().file("a", b"x").end()[..], 3).unwrap()),
        (
            "old-folder-with-slash",
            tar().item(Item { kind: 0, name: b"old/", mode: 0o755, ..Item::default() }, b"").end(),
        ),
        ("contiguous", tar().item(Item { kind: b'7', name: b"a", ..Item::default() }, b"x").end()),
    ]
}

fn whiteouts() -> Vec<(&'static str, Vec<u8>)> {
    let tar = Tar::default;
    vec![
        ("whiteout", tar().dir("a", 0o755).file("a/.wh.gone", b"").file(".wh.top", b"").end()),
        ("whiteout-of-a-hidden-file", tar().file(".wh..profile", b"").end()),
        ("whiteout-in-missing-folder", tar().file("a/b/.wh.c", b"").end()),
        ("opaque", tar().dir("a", 0o700).file("a/.wh..wh..opq", b"").file("a/new", b"x").end()),
        ("opaque-in-missing-folder", tar().file("a/.wh..wh..opq", b"").end()),
        ("opaque-root", tar().file(".wh..wh..opq", b"").file("a", b"x").end()),
        ("whiteout-and-file", tar().file(".wh.a", b"").file("a", b"new").end()),
        ("file-and-whiteout", tar().file("a", b"new").file(".wh.a", b"").end()),
        ("whiteout-and-folder", tar().file(".wh.a", b"").dir("a", 0o750).file("a/b", b"x").end()),
        ("whiteout-and-missing-folder", tar().file("a/b", b"x").file(".wh.a", b"").end()),
        ("whiteout-twice", tar().file(".wh.a", b"").file(".wh.a", b"").end()),
        ("opaque-and-whiteout-inside", tar().file("a/.wh..wh..opq", b"").file("a/.wh.b", b"").end()),
    ]
}

fn duplicates() -> Vec<(&'static str, Vec<u8>)> {
    let tar = Tar::default;
    vec![
        ("file-twice", tar().file("a", b"one").file("a", b"two").end()),
        (
            "file-three-times",
            tar().file("a", b"one").file("b", b"-").file("a", b"two").file("./a", b"three").end(),
        ),
        ("folder-twice", tar().dir("a", 0o700).file("a/b", b"").dir("a", 0o711).end()),
        (
            "link-to-what-was-replaced",
            tar().file("a", b"one").link("b", "a").file("a", b"two").link("c", "a").end(),
        ),
        ("link-to-itself", tar().file("a", b"x").link("a", "a").end()),
        ("file-becomes-folder", tar().file("a", b"x").dir("a", 0o755).file("a/b", b"y").end()),
        ("empty-folder-becomes-file", tar().dir("a", 0o755).file("a", b"x").end()),
        ("symlink-becomes-folder", tar().symlink("a", "/etc").dir("a", 0o755).file("a/b", b"y").end()),
    ]
}

fn sparse() -> Vec<(&'static str, Vec<u8>)> {
    let tar = Tar::default;
    let file = |size| header(&Item { name: b"GNUSparseFile.1/a", ..Item::default() }, size);
    let map = b"2\n3\n4\n10\n2\n";
    let mut leading = map.to_vec();
    leading.resize(512, 0);
    leading.extend(b"wxyzAB");
    vec![
        ("sparse-old-gnu", old_gnu_sparse(&[(3, 4), (10, 2), (12, 0)], 12, b"wxyzAB")),
        (
            "sparse-old-gnu-extended",
            old_gnu_sparse(&[(0, 1), (2, 1), (4, 1), (6, 1), (8, 1), (10, 1), (12, 0)], 12, b"abcdef"),
        ),
        ("sparse-old-gnu-all-hole", old_gnu_sparse(&[(4096, 0)], 4096, b"")),
        (
            "sparse-pax-0.0",
            tar()
                .pax(&[
                    ("GNU.sparse.size", b"12"),
                    ("GNU.sparse.numblocks", b"2"),
                    ("GNU.sparse.offset", b"3"),
                    ("GNU.sparse.numbytes", b"4"),
                    ("GNU.sparse.offset", b"10"),
                    ("GNU.sparse.numbytes", b"2"),
                ])
                .header(&file(6))
                .content(b"wxyzAB")
                .end(),
        ),
        (
            "sparse-pax-0.1",
            tar()
                .pax(&[
                    ("GNU.sparse.size", b"12"),
                    ("GNU.sparse.numblocks", b"2"),
                    ("GNU.sparse.name", b"a"),
                    ("GNU.sparse.map", b"3,4,10,2"),
                ])
                .header(&file(6))
                .content(b"wxyzAB")
                .end(),
        ),
        (
            "sparse-pax-1.0",
            tar()
                .pax(&[
                    ("GNU.sparse.major", b"1"),
                    ("GNU.sparse.minor", b"0"),
                    ("GNU.sparse.name", b"a"),
                    ("GNU.sparse.realsize", b"12"),
                ])
                .header(&file(518))
                .content(&leading)
                .file("next", b"!")
                .end(),
        ),
    ]
}

/// GNU's own format: the map in the header, and in blocks after it.
fn old_gnu_sparse(pieces: &[(u64, u64)], size: u64, stored: &[u8]) -> Vec<u8> {
    let number = |value: u64| format!("{value:011o}\0").into_bytes();
    let mut header = header(&Item { kind: b'S', name: b"a", ..Item::default() }, stored.len() as u64);
    let block = header.as_mut_bytes();
    block[257..265].copy_from_slice(b"ustar  \0");
    block[329..345].fill(0);
    let (first, rest) = pieces.split_at(pieces.len().min(4));
    for (index, (offset, length)) in first.iter().enumerate() {
        block[386 + 24 * index..][..12].copy_from_slice(&number(*offset));
        block[398 + 24 * index..][..12].copy_from_slice(&number(*length));
    }
    block[482] = u8::from(!rest.is_empty());
    block[483..495].copy_from_slice(&number(size));
    header.set_cksum();
    let mut tar = Tar::default().header(&header);
    let mut chunks = rest.chunks(21).peekable();
    while let Some(chunk) = chunks.next() {
        let mut block = [0; 512];
        for (index, (offset, length)) in chunk.iter().enumerate() {
            block[24 * index..][..12].copy_from_slice(&number(*offset));
            block[24 * index + 12..][..12].copy_from_slice(&number(*length));
        }
        block[504] = u8::from(chunks.peek().is_some());
        tar = tar.raw(&block);
    }
    tar.content(stored).file("next", b"!").end()
}

type Bad = (&'static str, Vec<u8>, &'static str);

fn hostile_names() -> Vec<Bad> {
    let tar = Tar::default;
    let deep = "d/".repeat(300);
    let named = |name: &'static [u8]| tar().item(Item { name, ..Item::default() }, b"").end();
    let pax_path = |path: &[u8]| tar().pax(&[("path", path)]).file("x", b"").end();
    vec![
        ("parent", tar().file("../a", b"").end(), "its name contains `..`"),
        ("parent-inside", tar().file("a/../../b", b"").end(), "its name contains `..`"),
        ("parent-whiteout", tar().file("../.wh.a", b"").end(), "its name contains `..`"),
        ("parent-in-pax", pax_path(b"a/.."), "its name contains `..`"),
        ("absolute", tar().file("/etc/passwd", b"").end(), "its name is absolute"),
        ("absolute-root", tar().dir("/", 0o755).end(), "its name is absolute"),
        (
            "absolute-long-name",
            tar().extension(b'L', b"/etc/x\0").file("x", b"").end(),
            "its name is absolute",
        ),
        ("no-name", named(b""), "its name is empty"),
        ("zero-in-name", pax_path(b"a\0b"), "its name contains a zero byte"),
        ("name-too-long", pax_path(&[b'n'; 256]), "its name is too long"),
        ("path-too-long", pax_path(&b"n/".repeat(2100)), "its name is too long"),
        (
            "long-name-too-long",
            tar().extension(b'L', &[b'n'; 5000]).file("x", b"").end(),
            "its name is too long",
        ),
        ("too-deep", pax_path(deep.as_bytes()), "it lies too deep"),
        ("root-is-a-file", tar().file(".", b"x").end(), "the layer's root is not a directory"),
        ("root-is-a-link", tar().symlink("./", "/").end(), "the layer's root is not a directory"),
        (
            "through-symlink",
            tar().symlink("a", "/etc").file("a/passwd", b"").end(),
            "`a` above it is not a directory",
        ),
        ("through-file", tar().file("a", b"").dir("a/b", 0o755).end(), "`a` above it is not a directory"),
        (
            "whiteout-through-symlink",
            tar().symlink("a", "/").file("a/.wh.b", b"").end(),
            "`a` above it is not a directory",
        ),
        (
            "folder-becomes-symlink",
            tar().file("a/b", b"").symlink("a", "/").end(),
            "replaces a directory that has entries",
        ),
        ("link-out", tar().link("a", "../../etc/passwd").end(), "its name contains `..`"),
        ("link-absolute", tar().link("a", "/etc/passwd").end(), "its name is absolute"),
        ("link-to-root", tar().link("a", "./").end(), "it links to the directory `./`"),
        ("link-to-folder", tar().dir("d", 0o755).link("a", "d").end(), "it links to the directory `d`"),
        (
            "link-to-nothing",
            tar().link("a", "b").file("b", b"").end(),
            "which the layer does not have before it",
        ),
        (
            "link-to-whiteout",
            tar().file(".wh.b", b"").link("a", "b").end(),
            "which the layer does not have before it",
        ),
        ("link-without-target", tar().link("a", "").end(), "its name is empty"),
        ("symlink-without-target", tar().symlink("a", "").end(), "its link's target is empty"),
        ("whiteout-of-nothing", tar().file(".wh.", b"").end(), "is not a whiteout that is known"),
        ("whiteout-of-dot", tar().file("a/.wh..", b"").end(), "is not a whiteout that is known"),
        ("whiteout-of-parent", tar().file(".wh...", b"").end(), "is not a whiteout that is known"),
        ("aufs-folder", tar().dir(".wh..wh.plnk", 0o755).end(), "is not a whiteout that is known"),
        ("below-a-whiteout", tar().file(".wh.a/b", b"").end(), "is not a whiteout that is known"),
        ("whiteout-is-a-folder", tar().dir(".wh.a", 0o755).end(), "is not a whiteout that is known"),
        (
            "opaque-is-a-symlink",
            tar().symlink("a/.wh..wh..opq", "x").end(),
            "is not a whiteout that is known",
        ),
    ]
}

fn hostile_content() -> Vec<Bad> {
    let tar = Tar::default;
    let claims =
        |kind, size| tar().header(&header(&Item { kind, name: b"a", ..Item::default() }, size)).end();
    let attribute = |name: &str| tar().pax(&[(&format!("SCHILY.xattr.{name}"), b"y")]).dir("a", 0o755).end();
    let sparse = |records: &[(&str, &[u8])], stored: &[u8]| tar().pax(records).file("a", stored).end();
    vec![
        ("size-beyond-the-stream", claims(b'0', 1 << 30), "more than 67108864 bytes in its files"),
        (
            "size-little-beyond",
            tar().header(&header(&Item { name: b"a", ..Item::default() }, 5000)).raw(&[0; 100]).bytes,
            "ends in the middle of entry 1",
        ),
        ("size-of-all", claims(b'0', u64::MAX), "`size` is out of range"),
        ("folder-with-content", claims(b'5', 512), "cannot have content"),
        (
            "hard-link-with-content",
            tar()
                .file("b", b"")
                .item(Item { kind: b'1', name: b"a", link: b"b", ..Item::default() }, b"x")
                .end(),
            "cannot have content",
        ),
        ("symlink-with-content", claims(b'2', 1), "cannot have content"),
        ("device-with-content", claims(b'3', 1), "cannot have content"),
        ("raw-whiteout", tar().device(b'3', "a", (0, 0)).end(), "is an overlay's whiteout"),
        ("raw-block-whiteout", tar().device(b'4', "a", (0, 0)).end(), "is an overlay's whiteout"),
        ("device-out-of-range", tar().device(b'3', "a", (4096, 0)).end(), "`device` is out of range"),
        ("overlay-opaque", attribute("trusted.overlay.opaque"), "belongs to overlayfs"),
        ("overlay-redirect", attribute("trusted.overlay.redirect"), "belongs to overlayfs"),
        ("overlay-user", attribute("user.overlay.metacopy"), "belongs to overlayfs"),
        ("attribute-without-name", attribute(""), "an attribute's name is empty"),
        (
            "attribute-too-large",
            tar().pax(&[("SCHILY.xattr.user.a", &[b'x'; 65537])]).file("a", b"").end(),
            "its attributes are too large taken together",
        ),
        (
            "pax-too-large",
            tar().extension(b'x', &vec![b' '; (1 << 20) + 1]).file("a", b"").end(),
            "its extended header is too large",
        ),
        ("pax-too-large-claimed", claims(b'x', 1 << 40), "its extended header is too large"),
        (
            "global-path",
            tar().extension(b'g', &record("path", b"x")).file("a", b"").end(),
            "a global PAX header sets `path`",
        ),
        ("unknown-type", claims(b'Z', 0), "entries of type `Z` are not known"),
        ("volume-label", claims(b'V', 0), "entries of type `V` are not known"),
        ("multi-volume", claims(b'M', 0), "entries of type `M` are not known"),
        (
            "id-of-nobody",
            tar().item(Item { name: b"a", uid: 4_294_967_295, ..Item::default() }, b"").end(),
            "`uid` is out of range",
        ),
        ("id-too-large", tar().pax(&[("gid", b"4294967296")]).file("a", b"").end(), "`gid` is out of range"),
        (
            "time-too-large",
            tar().pax(&[("mtime", b"8589934592")]).file("a", b"").end(),
            "`mtime` is out of range",
        ),
        (
            "sparse-overlap",
            old_gnu_sparse(&[(0, 4), (2, 2)], 12, b"abcdef"),
            "map of a sparse file is malformed",
        ),
        (
            "sparse-backwards",
            old_gnu_sparse(&[(8, 2), (0, 4)], 12, b"abcdef"),
            "map of a sparse file is malformed",
        ),
        (
            "sparse-beyond-the-file",
            old_gnu_sparse(&[(10, 6)], 12, b"abcdef"),
            "map of a sparse file is malformed",
        ),
        (
            "sparse-more-than-stored",
            old_gnu_sparse(&[(0, 12)], 12, b"abcdef"),
            "map of a sparse file is malformed",
        ),
        (
            "sparse-less-than-stored",
            old_gnu_sparse(&[(0, 2)], 12, b"abcdef"),
            "map of a sparse file is malformed",
        ),
        (
            "sparse-huge",
            old_gnu_sparse(&[(0, 6)], 1 << 32, b"abcdef"),
            "more than 67108864 bytes in its files",
        ),
        (
            "sparse-map-cut",
            sparse(&[("GNU.sparse.major", b"1"), ("GNU.sparse.realsize", b"9")], b"3\n0\n"),
            "map of a sparse file is malformed",
        ),
        (
            "sparse-map-endless",
            sparse(&[("GNU.sparse.major", b"1"), ("GNU.sparse.realsize", b"9")], &[b'1'; 1024]),
            "map of a sparse file is malformed",
        ),
        (
            "sparse-version",
            sparse(&[("GNU.sparse.major", b"2"), ("GNU.sparse.realsize", b"9")], b""),
            "map of a sparse file is malformed",
        ),
        (
            "sparse-folder",
            tar().pax(&[("GNU.sparse.realsize", b"9")]).dir("a", 0o755).end(),
            "map of a sparse file is malformed",
        ),
    ]
}

fn damaged() -> Vec<Bad> {
    let tar = Tar::default;
    let good = tar().file("a", b"content").end();
    let mut flipped = good.clone();
    flipped[0] ^= 1;
    let mut letters = header(&Item { name: b"a", ..Item::default() }, 0);
    letters.as_mut_bytes()[100..108].copy_from_slice(b"rwxr-xr-");
    letters.set_cksum();
    let zipped = gzip(&good);
    vec![
        ("checksum", flipped, "its header's checksum is wrong"),
        ("not-a-tar", b"MZ this is something else".repeat(40), "its header's checksum is wrong"),
        ("header-cut", good[..300].to_vec(), "ends in the middle of entry 1"),
        ("content-cut", good[..514].to_vec(), "ends in the middle of entry 1"),
        (
            "lone-zero-block",
            tar().raw(&[0; 512]).file("a", b"").end(),
            "one block of zeroes is followed by something else",
        ),
        ("mode-in-letters", tar().header(&letters).end(), "the header's field `mode` is not a number"),
        (
            "pax-length-wrong",
            tar().extension(b'x', b"99 path=a\n").file("a", b"").end(),
            "its PAX header is malformed",
        ),
        ("pax-without-entry", tar().pax(&[("path", b"a")]).end(), "is followed by none"),
        (
            "long-name-twice",
            tar().extension(b'L', b"a\0").extension(b'L', b"b\0").file("a", b"").end(),
            "is given twice",
        ),
        (
            "pax-twice",
            tar().pax(&[("path", b"a")]).pax(&[("path", b"b")]).file("a", b"").end(),
            "is given twice",
        ),
        ("gzip-cut", zipped[..zipped.len() - 3].to_vec(), "failed to read the layer"),
        ("gzip-and-rubbish", [&zipped[..], b"rubbish"].concat(), "failed to read the layer"),
        ("zstd-cut", zstd::encode_all(&good[..], 3).unwrap()[..30].to_vec(), "failed to read the layer"),
    ]
}
