//! Arrays and rows: from Postgres' text form to JSON.
//!
//! The text is walked twice, first without writing. A composite type can be altered between the moment that its text
//! was made and the moment that its fields were read from the catalog; the first walk finds what does not fit, and
//! then the value is written as the string that it arrived as, whole, instead of half an object.
//!
//! Source: <https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO> and
//! <https://www.postgresql.org/docs/current/rowtypes.html#ROWTYPES-IO-SYNTAX>.

use std::io::{self, BufReader, Read};

use serde::de::IgnoredAny;
use sha2::{Digest, Sha256};

use super::runs::{Bare, Quoted, Runs, expect, peek};
use super::{Out, json, value};
use crate::change::{Field, Type};

#[cfg(test)]
mod tests;

/// How deep arrays go (`MAXDIM` of Postgres).
const MAX_DIMENSIONS: u8 = 6;

/// The longest text of a number, a truth value or a timestamp, with room to spare.
const SCALAR_BYTES: usize = 64;

/// Puts `text`, a value of the array, row or vector type `r#type`.
pub(super) fn put(r#type: &Type, text: &[u8], out: &mut impl Out) {
    let written = fits(r#type, text) && Walk { out, trial: false }.whole(r#type, &mut &text[..]).is_some();
    if !written {
        json::string(text, out);
    }
}

/// Puts `text`, a value of the type `now` or, if it was written before the type was altered, of the type `before`.
///
/// What fits both and means another thing in each is written as the string that it arrived as: a wrong name is worse
/// than none.
pub(super) fn put_either(now: &Type, before: &Type, text: &[u8], out: &mut impl Out) {
    match (fits(now, text), fits(before, text)) {
        (true, false) => put(now, text, out),
        (false, true) => put(before, text, out),
        (true, true) if digest(now, text) == digest(before, text) => put(now, text, out),
        _ => json::string(text, out),
    }
}

fn fits(r#type: &Type, text: &[u8]) -> bool {
    let mut rest = text;
    Walk { out: &mut Nowhere, trial: true }.whole(r#type, &mut rest).is_some() && rest.is_empty()
}

/// Of what `text` is as a value of `r#type`, without a copy of it.
fn digest(r#type: &Type, text: &[u8]) -> impl PartialEq {
    let mut digest = Digested(Sha256::new());
    put(r#type, text, &mut digest);
    digest.0.finalize()
}

struct Digested(Sha256);

impl Out for Digested {
    fn put(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}

struct Nowhere;

impl Out for Nowhere {
    fn put(&mut self, _: &[u8]) {}
}

struct Walk<'o, O> {
    out: &'o mut O,
    /// Nothing is written: what can be checked only by reading it is checked instead.
    trial: bool,
}

impl<O: Out> Walk<'_, O> {
    /// A value, to the end of `from`; `None` where the text is not one of the type.
    fn whole(&mut self, r#type: &Type, from: &mut dyn Runs) -> Option<()> {
        match r#type {
            Type::Array { element, delimiter } => {
                bounds(from)?;
                self.dimension(element, *delimiter, from, MAX_DIMENSIONS - 1)?;
            }
            Type::Composite(fields) => self.row(fields, from)?,
            Type::Vector(element) => self.vector(element, from)?,
            Type::Json if self.trial => is_json(from)?,
            Type::Json => self.runs(from, json::embedded),
            Type::Date | Type::Numeric | Type::Text => {
                self.out.put(b"\"");
                self.runs(from, json::escaped);
                self.out.put(b"\"");
            }
            Type::Bool => self.scalar(from, value::truth)?,
            Type::Float | Type::Int | Type::Int8 => self.scalar(from, value::number)?,
            Type::Timestamp | Type::TimestampTz => self.scalar(from, value::timestamp)?,
        }
        from.run().is_empty().then_some(())
    }

    /// `{1,2}`, `{{1,2},{3,4}}`.
    fn dimension(&mut self, element: &Type, delimiter: u8, from: &mut dyn Runs, deeper: u8) -> Option<()> {
        expect(from, b'{')?;
        self.out.put(b"[");
        if peek(from)? != b'}' {
            loop {
                match peek(from)? {
                    b'{' => self.dimension(element, delimiter, from, deeper.checked_sub(1)?)?,
                    b'"' => self.quoted(element, from)?,
                    _ => {
                        let mut bare = Bare::new(from, [delimiter, b'}']);
                        match bare.run() {
                            b"" => return None,
                            b"NULL" => {
                                bare.advance(4);
                                self.out.put(b"null");
                            }
                            _ => self.whole(element, &mut bare)?,
                        }
                    }
                }
                if peek(from)? != delimiter {
                    break;
                }
                from.advance(1);
                self.out.put(b",");
            }
        }
        expect(from, b'}')?;
        self.out.put(b"]");
        Some(())
    }

    /// `(1,"two words",)`: nothing at all between commas is a null.
    fn row(&mut self, fields: &[Field], from: &mut dyn Runs) -> Option<()> {
        expect(from, b'(')?;
        self.out.put(b"{");
        for (at, field) in fields.iter().enumerate() {
            if at > 0 {
                expect(from, b',')?;
                self.out.put(b",");
            }
            json::string(field.name.as_bytes(), self.out);
            self.out.put(b":");
            match peek(from)? {
                b',' | b')' => self.out.put(b"null"),
                b'"' => self.quoted(&field.r#type, from)?,
                _ => self.whole(&field.r#type, &mut Bare::new(from, [b',', b')']))?,
            }
        }
        expect(from, b')')?;
        self.out.put(b"}");
        Some(())
    }

    /// `1 2 3`, the form of `int2vector` and `oidvector`.
    fn vector(&mut self, element: &Type, from: &mut dyn Runs) -> Option<()> {
        self.out.put(b"[");
        if !from.run().is_empty() {
            self.whole(element, &mut Bare::new(from, [b' ', b' ']))?;
            while expect(from, b' ').is_some() {
                self.out.put(b",");
                self.whole(element, &mut Bare::new(from, [b' ', b' ']))?;
            }
        }
        self.out.put(b"]");
        Some(())
    }

    fn quoted(&mut self, r#type: &Type, from: &mut dyn Runs) -> Option<()> {
        from.advance(1);
        let mut quoted = Quoted::new(from);
        self.whole(r#type, &mut quoted)?;
        quoted.end()
    }

    fn runs(&mut self, from: &mut dyn Runs, put: fn(&[u8], &mut O)) {
        loop {
            let run = from.run();
            let len = run.len();
            if len == 0 {
                return;
            }
            put(run, self.out);
            from.advance(len);
        }
    }

    fn scalar(&mut self, from: &mut dyn Runs, put: fn(&[u8], &mut O)) -> Option<()> {
        let mut text = [0; SCALAR_BYTES];
        let mut len = 0;
        loop {
            let run = from.run();
            if run.is_empty() {
                break;
            }
            let used = run.len();
            text.get_mut(len..len + used)?.copy_from_slice(run);
            len += used;
            from.advance(used);
        }
        put(&text[..len], self.out);
        Some(())
    }
}

/// Passes over lower bounds that are not 1: `[0:1][-2:3]=`. JSON has no place for them.
fn bounds(from: &mut dyn Runs) -> Option<()> {
    if peek(from)? == b'[' {
        while peek(from)? != b'=' {
            from.advance(1);
        }
        from.advance(1);
    }
    Some(())
}

/// Takes all of `from`, which is JSON or not: a field's type may have become `json` after its text was made.
fn is_json(from: &mut dyn Runs) -> Option<()> {
    struct Bytes<'r>(&'r mut dyn Runs);

    impl Read for Bytes<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let run = self.0.run();
            let len = run.len().min(buffer.len());
            buffer[..len].copy_from_slice(&run[..len]);
            self.0.advance(len);
            Ok(len)
        }
    }

    serde_json::from_reader::<_, IgnoredAny>(BufReader::with_capacity(4096, Bytes(from))).ok().map(drop)
}
