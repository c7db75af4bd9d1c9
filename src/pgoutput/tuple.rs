//! A row as it lies in a message.

use memchr::memchr;

/// The columns of one version of a row, in the order of its relation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tuple<'a> {
    columns: u16,
    /// The encoded columns, exactly; [`super::decode`] has walked them.
    data: &'a [u8],
}

/// The old version of a row, as far as its replica identity has it sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OldTuple<'a> {
    /// The whole row (identity FULL).
    Full(Tuple<'a>),
    /// The identity's columns; all others are null in the tuple and mean nothing.
    Key(Tuple<'a>),
}

/// One column's value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// In the type's binary form; only if `binary` was asked for.
    Binary(&'a [u8]),
    Null,
    /// In the type's text form, UTF-8.
    Text(&'a [u8]),
    /// A TOASTed value that the statement did not touch: the server does not send it.
    Unchanged,
}

impl<'a> OldTuple<'a> {
    /// The tuple, whichever kind.
    #[must_use]
    pub const fn tuple(self) -> Tuple<'a> {
        match self {
            Self::Full(tuple) | Self::Key(tuple) => tuple,
        }
    }
}

impl<'a> Tuple<'a> {
    /// Takes a tuple off the front of `bytes`; `None` if it is malformed or cut.
    pub(super) fn split_off(bytes: &mut &'a [u8]) -> Option<Self> {
        let (columns, rest) = bytes.split_first_chunk()?;
        let columns = u16::from_be_bytes(*columns);
        let mut values = Values { left: columns, data: rest };
        for _ in 0..columns {
            values.step()?;
        }
        let data = &rest[..rest.len() - values.data.len()];
        *bytes = values.data;
        Some(Self { columns, data })
    }

    /// How many columns it has.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.columns as usize
    }

    /// Whether it has no column.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.columns == 0
    }

    /// Its values, in order.
    #[must_use]
    pub const fn values(&self) -> Values<'a> {
        Values { left: self.columns, data: self.data }
    }
}

impl std::fmt::Debug for Tuple<'_> {
    /// Without the values: they belong into sinks alone.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tuple({} columns, {} bytes)", self.columns, self.data.len())
    }
}

impl std::fmt::Debug for Value<'_> {
    /// Without the value: it belongs into sinks alone.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Binary(bytes) => write!(f, "Binary({} bytes)", bytes.len()),
            Self::Null => f.write_str("Null"),
            Self::Text(bytes) => write!(f, "Text({} bytes)", bytes.len()),
            Self::Unchanged => f.write_str("Unchanged"),
        }
    }
}

/// Walks the values of a tuple.
#[derive(Debug, Clone)]
pub struct Values<'a> {
    left: u16,
    data: &'a [u8],
}

impl<'a> Values<'a> {
    fn step(&mut self) -> Option<Value<'a>> {
        let (&kind, rest) = self.data.split_first()?;
        if matches!(kind, b'n' | b'u') {
            self.data = rest;
            return Some(if kind == b'n' { Value::Null } else { Value::Unchanged });
        }
        let (len, rest) = rest.split_first_chunk()?;
        let (value, rest) = rest.split_at_checked(usize::try_from(i32::from_be_bytes(*len)).ok()?)?;
        self.data = rest;
        match kind {
            b't' => Some(Value::Text(value)),
            b'b' => Some(Value::Binary(value)),
            _ => None,
        }
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        self.step()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Values<'_> {}

/// Takes what stands before a NUL off the front of `bytes`.
pub(super) fn bytes_to_nul<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = memchr(0, bytes)?;
    let (found, rest) = (&bytes[..end], &bytes[end + 1..]);
    *bytes = rest;
    Some(found)
}

/// Takes UTF-8 up to a NUL off the front of `bytes`.
pub(super) fn cstr<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(bytes_to_nul(bytes)?).ok()
}
