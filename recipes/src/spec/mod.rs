//! How each table of the language is described: as data, from which the parser knows its keys, and the JSON
//! schemas and the tables of the README are made.

pub(crate) mod forms;
pub(crate) mod recipe;
pub(crate) mod user_data;

/// A table of the language.
pub(crate) struct Spec {
    /// As people call it: `[containers.NAME]`.
    pub(crate) title: &'static str,
    /// What it is for, in a sentence.
    pub(crate) about: &'static str,
    /// Its keys, in the order they are explained.
    pub(crate) keys: &'static [Key],
    /// Keys of later releases, and the release that brings each.
    pub(crate) reserved: &'static [(&'static str, &'static str)],
}

/// A key of a table.
pub(crate) struct Key {
    /// The word.
    pub(crate) name: &'static str,
    /// What its value may be.
    pub(crate) shape: Shape,
    /// What holds when it is absent, for people; `None`: it is required.
    pub(crate) default: Option<&'static str>,
    /// What it does, in a sentence.
    pub(crate) doc: &'static str,
}

impl Key {
    /// A key that may be absent, with what holds then.
    pub(crate) const fn new(
        name: &'static str,
        shape: Shape,
        default: &'static str,
        doc: &'static str,
    ) -> Key {
        Key { name, shape, default: Some(default), doc }
    }

    /// A key that must be there.
    pub(crate) const fn required(name: &'static str, shape: Shape, doc: &'static str) -> Key {
        Key { name, shape, default: None, doc }
    }
}

/// What a value may be. The JSON schemas know no more than this; the parser knows more.
pub(crate) enum Shape {
    /// `true` or `false`.
    Boolean,
    /// A whole number within bounds.
    Integer(i64, i64),
    /// A number within bounds, whole or not.
    Number(f64, f64),
    /// Text.
    Text,
    /// Text of a form: its word for people, a regular expression that all good ones match, an example.
    Form(&'static Form),
    /// One of some words.
    OneOf(&'static [&'static str]),
    /// Text with templates.
    Template,
    /// The shape, or one template as the whole value.
    OrTemplate(&'static Shape),
    /// A list.
    List(&'static Shape),
    /// A list with at least one value.
    SomeOf(&'static Shape),
    /// A table with keys of a form.
    Map(&'static Form, &'static Shape),
    /// A table with keys of its own.
    Table(&'static Spec),
    /// One of several shapes.
    Either(&'static [Shape]),
}

/// A form that text can have.
pub(crate) struct Form {
    /// For people.
    pub(crate) word: &'static str,
    /// A regular expression (ECMA-262 as JSON schema has it) that every good text matches.
    pub(crate) pattern: &'static str,
    /// A good text.
    pub(crate) example: &'static str,
}

impl Spec {
    /// The key of this name.
    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// Whether the language has something at the end of these keys.
    pub(crate) fn leads(&self, path: &[&str]) -> bool {
        match path.split_first() {
            Some((name, rest)) => self.key(name).is_some_and(|key| key.shape.leads(rest)),
            None => true,
        }
    }

    /// The release that brings this key.
    pub(crate) fn reserved(&self, name: &str) -> Option<&'static str> {
        self.reserved.iter().find(|(word, _)| *word == name).map(|(_, release)| *release)
    }
}

impl Shape {
    /// The same from a value of this shape on; the keys of one table of a list are those of each.
    fn leads(&self, path: &[&str]) -> bool {
        match (self, path) {
            (_, []) => true,
            (Shape::Table(spec), _) => spec.leads(path),
            (Shape::Map(_, inner), [_, rest @ ..]) => inner.leads(rest),
            (Shape::List(inner) | Shape::SomeOf(inner) | Shape::OrTemplate(inner), _) => inner.leads(path),
            (Shape::Either(shapes), _) => shapes.iter().any(|shape| shape.leads(path)),
            _ => false,
        }
    }
}
