//! The messages, from the embedded table.

use std::collections::HashMap;
use std::sync::LazyLock;

static BUILTIN: LazyLock<Table> =
    LazyLock::new(|| Table::parse(include_str!("fields.tsv")).expect("a test parses the embedded table"));

/// The group that every group version has the kinds of, such as `DeleteOptions`.
const META: &str = "meta.k8s.io/v1";

/// A message's place in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message(usize);

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    String,
    Int,
    Bool,
    Bytes,
    Time,
    MicroTime,
    Quantity,
    IntOrString,
    /// JSON in a message of its own: `RawExtension` and `FieldsV1`.
    Json,
    Message(Message),
}

/// How many values a field has, and where they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    One,
    List,
    /// By string.
    Map,
    /// One message, whose fields stand in the parent.
    Inline,
}

#[derive(Debug)]
pub(crate) struct Field {
    /// In JSON.
    pub name: String,
    pub number: u32,
    pub shape: Shape,
    pub of: Type,
    /// A zero is left out.
    pub omit_zero: bool,
}

#[derive(Debug)]
pub(crate) struct Table {
    messages: Vec<Vec<Field>>,
    kinds: HashMap<String, Message>,
}

impl Table {
    /// The table of the built-in kinds.
    pub(crate) fn builtin() -> &'static Self {
        &BUILTIN
    }

    /// Reads the format that the crate's documentation describes; says what is wrong with which line.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let names = text.lines().filter(|line| !line.starts_with('\t')).filter_map(|line| line.split('\t').next());
        let messages: HashMap<&str, Message> = names.enumerate().map(|(i, name)| (name, Message(i))).collect();
        let mut table = Self { messages: Vec::with_capacity(messages.len()), kinds: HashMap::new() };
        for line in text.lines() {
            let wrong = |what: &str| format!("{what}: {line:?}");
            if let Some(line) = line.strip_prefix('\t') {
                let field = field(line, &messages).ok_or_else(|| wrong("not a field"))?;
                table.messages.last_mut().ok_or_else(|| wrong("a field of no message"))?.push(field);
                continue;
            }
            let (name, kind) = line.split_once('\t').unwrap_or((line, ""));
            let message = Message(table.messages.len());
            if messages.get(name) != Some(&message) {
                return Err(wrong("a message that is there twice"));
            }
            match kind {
                "" => {}
                "kind" => drop(table.kinds.insert(name.to_owned(), message)),
                _ => return Err(wrong("not a message")),
            }
            table.messages.push(Vec::new());
        }
        Ok(table)
    }

    pub(crate) fn kind(&self, api_version: &str, kind: &str) -> Option<Message> {
        let named = |version: &str| self.kinds.get(&format!("{version}.{kind}")).copied();
        named(api_version).or_else(|| named(META))
    }

    pub(crate) fn field(&self, message: Message, number: u32) -> Option<&Field> {
        self.messages.get(message.0)?.iter().find(|field| field.number == number)
    }
}

fn field(line: &str, messages: &HashMap<&str, Message>) -> Option<Field> {
    let mut columns = line.split('\t');
    let name = columns.next()?.to_owned();
    let number = columns.next()?.parse().ok()?;
    let shape = match columns.next()? {
        "one" => Shape::One,
        "list" => Shape::List,
        "map" => Shape::Map,
        "inline" => Shape::Inline,
        _ => return None,
    };
    let of = match columns.next()? {
        "string" => Type::String,
        "int" => Type::Int,
        "bool" => Type::Bool,
        "bytes" => Type::Bytes,
        "time" => Type::Time,
        "microtime" => Type::MicroTime,
        "quantity" => Type::Quantity,
        "intstr" => Type::IntOrString,
        "json" => Type::Json,
        message => Type::Message(*messages.get(message)?),
    };
    let omit_zero = match columns.next() {
        None => false,
        Some("omitzero") => true,
        Some(_) => return None,
    };
    columns.next().is_none().then_some(Field { name, number, shape, of, omit_zero })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_table_parses() {
        let table = Table::parse(include_str!("fields.tsv")).unwrap();
        for fields in &table.messages {
            let mut numbers: Vec<u32> = fields.iter().map(|field| field.number).collect();
            numbers.dedup();
            assert!(!fields.is_empty() && numbers.len() == fields.len() && numbers.is_sorted(), "{fields:?}");
        }
        assert!(table.kinds.len() > 40);
    }

    #[test]
    fn kinds_are_found_by_version_and_those_of_meta_by_any() {
        let table = Table::builtin();
        assert!(table.kind("apps/v1", "Deployment").is_some());
        assert!(table.kind("v1", "Deployment").is_none());
        assert!(table.kind("v1", "PodSpec").is_none(), "not a kind");
        assert!(table.kind("apps/v1", "DeleteOptions").is_some());
    }

    #[test]
    fn a_faulty_line_is_named() {
        for text in
            ["\ta\t1\tone\tint", "v1.A\n\ta\t1\tone\tv1.B", "v1.A\nv1.A", "v1.A\n\ta\tx\tone\tint", "v1.A\tbody"]
        {
            assert!(Table::parse(text).is_err(), "{text}");
        }
    }
}
