//! Documents made wrong, or right in another way, from good ones; a seed decides how.

use toml::{Table, Value};

/// Most bytes of a mutant: user-data as a provider delivers it.
const MOST: usize = 64 * 1024;

/// A mutant of one of `documents`: an even `seed` gives one whose keys, types, values, sizes or nesting are
/// changed, which is TOML all the same; an odd one has its text damaged.
pub(crate) fn mutant(seed: u64, documents: &[String]) -> String {
    let mut random = Random(seed);
    if seed.is_multiple_of(2) {
        let mut tables = documents.iter().filter_map(|text| toml::from_str(text).ok());
        let chosen = random.below(tables.clone().count());
        let Some(table) = tables.nth(chosen) else { return String::new() };
        changed(&mut random, table)
    } else {
        let chosen = random.below(documents.len());
        damaged(&mut random, documents[chosen].clone().into_bytes())
    }
}

/// SplitMix64: the same numbers for the same seed, everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `end`; 0 when that is 0.
    fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.next() % end as u64) as usize }
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// Keys of the language, where they belong and where they do not.
const KEYS: [&str; 24] = [
    "format",
    "box",
    "recipe",
    "name",
    "hostname",
    "admins",
    "interface",
    "match",
    "mac",
    "addresses",
    "routes",
    "registry",
    "host",
    "update",
    "url",
    "containers",
    "web",
    "image",
    "ports",
    "health",
    "volumes",
    "params",
    "env",
    "command",
];

fn text(random: &mut Random) -> String {
    const TEXTS: [&str; 30] = [
        "",
        " ",
        "a",
        "-",
        ".",
        "..",
        "../../etc",
        "/",
        "/data",
        "\0",
        "\n",
        "\u{1b}[31m",
        "\u{202e}x",
        "é",
        "{{",
        "{{ params.x }}",
        "{{ box.hostname }}",
        "80:8080",
        "0:0",
        "65536:1",
        "10G",
        "-1G",
        "99999999999999999999T",
        "30s",
        "1h1h",
        "ssh-ed25519 AAAA",
        "02:00:5e:00:53:01",
        "203.0.113.7/33",
        "::1/129",
        "localhost/web:1",
    ];
    match random.below(8) {
        0 => "x".repeat(random.below(4000)),
        1 => "ä".repeat(random.below(300)),
        _ => random.pick(&TEXTS).to_owned(),
    }
}

fn value(random: &mut Random) -> Value {
    match random.below(8) {
        0 => Value::Boolean(random.below(2) == 0),
        1 => Value::Integer(random.pick(&[0, 1, -1, 80, 65_536, i64::MAX, i64::MIN, 1 << 40])),
        2 => Value::Float(random.pick(&[0.0, -0.5, 1e308, f64::NAN, f64::INFINITY])),
        3 => Value::Array(Vec::new()),
        4 => Value::Table(Table::new()),
        5 => "1979-05-27T07:32:00Z".parse().map_or(Value::Boolean(false), Value::Datetime),
        _ => Value::String(text(random)),
    }
}

fn key(random: &mut Random, old: &str) -> String {
    let mut letters: Vec<char> = old.chars().collect();
    let at = random.below(letters.len());
    match random.below(9) {
        0 if !letters.is_empty() => drop(letters.remove(at)),
        1 if !letters.is_empty() => letters.insert(at, letters[at]),
        2 if letters.len() > 1 => letters.swap(at, (at + 1) % old.chars().count()),
        3 => return old.to_uppercase(),
        4 => return format!("{old}s"),
        5 => return format!("a.{old} \"x"),
        6 => return text(random),
        _ => return random.pick(&KEYS).to_owned(),
    }
    letters.into_iter().collect()
}

/// Changes a table in up to four places, and writes it down again.
fn changed(random: &mut Random, mut table: Table) -> String {
    for _ in 0..=random.below(4) {
        let before = table.clone();
        change(random, &mut table);
        if toml::to_string(&table).is_ok_and(|text| text.len() > MOST) {
            table = before;
        }
    }
    toml::to_string(&table).unwrap_or_default()
}

/// Goes down to a table at random and changes one thing there.
fn change(random: &mut Random, table: &mut Table) {
    let keys: Vec<String> = table.keys().cloned().collect();
    if keys.is_empty() {
        table.insert(random.pick(&KEYS).to_owned(), value(random));
        return;
    }
    let chosen = keys[random.below(keys.len())].clone();
    if random.below(4) > 0 {
        let below = match &mut table[&chosen] {
            Value::Table(below) => Some(below),
            Value::Array(items) => {
                let at = random.below(items.len());
                items.get_mut(at).and_then(Value::as_table_mut)
            }
            _ => None,
        };
        if let Some(below) = below {
            return change(random, below);
        }
    }
    let old = table[&chosen].clone();
    match random.below(8) {
        0 => {
            table.remove(&chosen);
            table.insert(key(random, &chosen), old);
        }
        1 => drop(table.remove(&chosen)),
        2 => drop(table.insert(key(random, &chosen), value(random))),
        3 => {
            let other = keys[random.below(keys.len())].clone();
            let moved = table[&other].clone();
            table.insert(chosen, moved);
        }
        4 => drop(table.insert(chosen, many(random, old))),
        5 => drop(table.insert(chosen, nested(random, old))),
        _ => drop(table.insert(chosen, value(random))),
    }
}

/// A value many times, under names of its own where it is a table.
fn many(random: &mut Random, old: Value) -> Value {
    let times = 1 + random.below(200);
    match old {
        Value::Array(items) => {
            Value::Array(items.iter().cycle().take(items.len() * times).cloned().collect())
        }
        Value::Table(table) => {
            let one = table.values().next().cloned().unwrap_or(Value::Boolean(true));
            let copies = (0..times).map(|n| (format!("n{n}"), one.clone()));
            Value::Table(table.into_iter().chain(copies).collect())
        }
        Value::String(text) => Value::String(text.repeat(times)),
        other => Value::Array(vec![other; times]),
    }
}

/// A value deep inside arrays or tables.
fn nested(random: &mut Random, old: Value) -> Value {
    let deep = 1 + random.below(90);
    let arrays = random.below(2) == 0;
    (0..deep).fold(old, |inner, _| {
        if arrays {
            Value::Array(vec![inner])
        } else {
            Value::Table(Table::from_iter([("a".to_owned(), inner)]))
        }
    })
}

/// Damages a text in up to four places.
fn damaged(random: &mut Random, mut bytes: Vec<u8>) -> String {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        let line_end =
            bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |more| at + more);
        match random.below(9) {
            0 => bytes.truncate(at),
            1 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(7),
            2 if !bytes.is_empty() => drop(bytes.remove(at)),
            3 => bytes.insert(at, random.pick(b"\"'[]{}=.,#\\\n\r\t\0-")),
            4 => drop(bytes.splice(at..line_end, [])),
            5 => {
                let line: Vec<u8> = bytes[at..line_end].to_vec();
                bytes.splice(line_end..line_end, [b"\n".to_vec(), line].concat());
            }
            6 => bytes = String::from_utf8_lossy(&bytes).replace('\n', "\r\n").into_bytes(),
            7 => drop(
                bytes
                    .splice(..0, random.pick(&["\u{feff}", "#cloud-config\n", "#!/bin/sh\n", " \n"]).bytes()),
            ),
            _ => drop(bytes.splice(at..at, vec![random.pick(b"[{x \""); random.below(3000)])),
        }
    }
    bytes.truncate(MOST);
    String::from_utf8_lossy(&bytes).into_owned()
}
