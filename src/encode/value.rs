//! One column's text as a JSON value.

use std::sync::Arc;

use super::{Out, json, nested};
use crate::change::Type;

#[cfg(test)]
mod tests;

/// How the values of a column are written, chosen once for each relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Codec {
    Bool,
    /// Of a composite type that was altered: as it is, and as it was before.
    Either(Arc<Type>, Arc<Type>),
    Json,
    Nested(Arc<Type>),
    Number,
    Text,
    Timestamp,
}

impl Codec {
    /// The codec for values of `r#type`, or of what it was `before`.
    pub(super) fn of(r#type: &Arc<Type>, before: Option<&Arc<Type>>) -> Self {
        if let Some(before) = before {
            return Self::Either(Arc::clone(r#type), Arc::clone(before));
        }
        match &**r#type {
            Type::Array { .. } | Type::Composite(_) | Type::Vector(_) => Self::Nested(Arc::clone(r#type)),
            Type::Bool => Self::Bool,
            Type::Date | Type::Numeric | Type::Text => Self::Text,
            Type::Float | Type::Int | Type::Int8 => Self::Number,
            Type::Json => Self::Json,
            Type::Timestamp | Type::TimestampTz => Self::Timestamp,
        }
    }

    /// Puts `text`, which is not null, as a JSON value.
    pub(super) fn put(&self, text: &[u8], out: &mut impl Out) {
        match self {
            Self::Bool => truth(text, out),
            Self::Either(now, before) => nested::put_either(now, before, text, out),
            Self::Json => json::embedded(text, out),
            Self::Nested(r#type) => nested::put(r#type, text, out),
            Self::Number => number(text, out),
            Self::Text => json::string(text, out),
            Self::Timestamp => timestamp(text, out),
        }
    }
}

/// `t` or `f`.
pub(super) fn truth(text: &[u8], out: &mut impl Out) {
    match text {
        b"t" => out.put(b"true"),
        b"f" => out.put(b"false"),
        _ => json::string(text, out),
    }
}

/// A number as it stands, digit by digit; `NaN`, `Infinity` and `-Infinity` as strings.
pub(super) fn number(text: &[u8], out: &mut impl Out) {
    if json::is_number(text) {
        out.put(text);
    } else {
        json::string(text, out);
    }
}

/// `2026-01-01 00:00:00.000001+00` as `"2026-01-01T00:00:00.000001Z"`; without a zone, without `Z`. A trailing ` BC`
/// stays, and so do `infinity` and `-infinity`.
pub(super) fn timestamp(text: &[u8], out: &mut impl Out) {
    out.put(b"\"");
    match memchr::memchr(b' ', text) {
        Some(at) if text.get(at + 3) == Some(&b':') => {
            let (date, time) = (&text[..at], &text[at + 1..]);
            let (time, era) = match time.strip_suffix(b" BC") {
                Some(time) => (time, &b" BC"[..]),
                None => (time, &b""[..]),
            };
            json::escaped(date, out);
            out.put(b"T");
            match time.strip_suffix(b"+00") {
                Some(time) => {
                    json::escaped(time, out);
                    out.put(b"Z");
                }
                None => json::escaped(time, out),
            }
            out.put(era);
        }
        _ => json::escaped(text, out),
    }
    out.put(b"\"");
}
