//! Why a body could not be decoded.

/// What is wrong with a body.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The body has no bytes.
    #[error("empty data")]
    Empty,
    /// The body does not start with the magic.
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    Magic,
    /// The envelope around the object is malformed.
    #[error("the protobuf envelope is malformed: {0}")]
    Envelope(Fault),
    /// The envelope does not name the object's kind.
    #[error("Object 'Kind' is missing")]
    NoKind,
    /// The envelope does not name the object's version.
    #[error("Object 'apiVersion' is missing")]
    NoVersion,
    /// The envelope names a type that is not in the table, or is never a body.
    #[error("no kind \"{kind}\" is registered for version \"{api_version}\"")]
    UnknownKind {
        /// As the client gave it.
        api_version: String,
        /// As the client gave it.
        kind: String,
    },
    /// A field of the object is malformed.
    #[error("{kind}{path}: {fault}")]
    Field {
        /// The object's kind.
        kind: String,
        /// The field's place in the JSON form, after a dot; empty for the object itself.
        path: String,
        /// What is wrong with it.
        fault: Fault,
    },
}

/// What is wrong with one field.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The bytes are not protobuf, or end early.
    #[error(transparent)]
    Wire(#[from] prost::DecodeError),
    /// The length of the field reaches beyond its message.
    #[error("the field ends early")]
    Truncated,
    /// The field is there with the encoding of another type.
    #[error("the field has the wrong wire type")]
    WireType,
    /// Messages nest too deeply.
    #[error("messages nest too deeply")]
    Depth,
    /// Text that is not UTF-8.
    #[error("the string is not UTF-8")]
    Utf8,
    /// A time that RFC 3339 cannot name.
    #[error("the time is out of range")]
    Time,
    /// An `IntOrString` that is neither.
    #[error("neither an integer nor a string")]
    IntOrString,
    /// Embedded JSON that cannot be parsed.
    #[error("the embedded JSON cannot be parsed: {0}")]
    Json(serde_json::Error),
}

/// A fault and where it is, while the decoder goes back up.
#[derive(Debug)]
pub(crate) struct Located {
    pub path: String,
    pub fault: Fault,
}

impl Located {
    /// The same below a field.
    pub(crate) fn below(self, name: &str) -> Self {
        Self { path: format!(".{name}{}", self.path), ..self }
    }

    /// The same below an item of a list.
    pub(crate) fn at(self, index: usize) -> Self {
        Self { path: format!("[{index}]{}", self.path), ..self }
    }
}

impl<F: Into<Fault>> From<F> for Located {
    fn from(fault: F) -> Self {
        Self { path: String::new(), fault: fault.into() }
    }
}
