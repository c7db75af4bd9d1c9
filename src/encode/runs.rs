//! A value's text as it comes out of the quoting around it, without a copy.
//!
//! Arrays and rows quote what they hold, and what they hold may be arrays and rows again. Each level of quoting is a
//! layer over the one outside it, and hands on runs of the original bytes: what is 100 MB long and lies three quotes
//! deep is still never built as a whole.

use memchr::memchr2;

/// Text in runs.
pub(super) trait Runs {
    /// What comes next: at least one byte, unless the text is at its end.
    fn run(&mut self) -> &[u8];

    /// The first `len` bytes of the run are used.
    fn advance(&mut self, len: usize);
}

/// The next byte, which stays.
pub(super) fn peek(from: &mut dyn Runs) -> Option<u8> {
    from.run().first().copied()
}

/// Takes the next byte if it is `byte`.
pub(super) fn expect(from: &mut dyn Runs, byte: u8) -> Option<()> {
    (peek(from)? == byte).then(|| from.advance(1))
}

impl Runs for &[u8] {
    fn run(&mut self) -> &[u8] {
        self
    }

    fn advance(&mut self, len: usize) {
        *self = self.get(len..).unwrap_or_default();
    }
}

/// An element without quotes: up to one of two bytes, which stays, or to the end.
pub(super) struct Bare<'r> {
    outer: &'r mut dyn Runs,
    ends: [u8; 2],
    /// How much of the outer run is known to be ours. Looked for once: to look again for each byte that is taken
    /// would make the time grow with the square of the length.
    clean: usize,
}

impl<'r> Bare<'r> {
    /// The text from here to one of `ends`.
    pub(super) fn new(outer: &'r mut dyn Runs, ends: [u8; 2]) -> Self {
        Self { outer, ends, clean: 0 }
    }
}

impl Runs for Bare<'_> {
    fn run(&mut self) -> &[u8] {
        if self.clean == 0 {
            let run = self.outer.run();
            self.clean = memchr2(self.ends[0], self.ends[1], run).unwrap_or(run.len());
        }
        &self.outer.run()[..self.clean]
    }

    fn advance(&mut self, len: usize) {
        self.clean -= len;
        self.outer.advance(len);
    }
}

/// An element in quotes; the opening one is taken already.
///
/// Inside, a backslash makes the next byte text, and so does a quote in front of a quote: arrays use the one way, rows
/// both, and nothing that an array prints reads otherwise for it.
pub(super) struct Quoted<'r> {
    outer: &'r mut dyn Runs,
    /// As [`Bare::clean`].
    clean: usize,
    closed: bool,
}

impl<'r> Quoted<'r> {
    /// The text behind an opening quote.
    pub(super) fn new(outer: &'r mut dyn Runs) -> Self {
        Self { outer, clean: 0, closed: false }
    }

    /// Whether the text is taken whole, its closing quote included.
    pub(super) fn end(&mut self) -> Option<()> {
        (self.run().is_empty() && self.closed).then_some(())
    }

    /// Looks how much of the outer run is text, past one quote or backslash that is not.
    fn look(&mut self) -> usize {
        let run = self.outer.run();
        match run.first() {
            None => 0,
            Some(b'\\') => {
                self.outer.advance(1);
                self.outer.run().len().min(1)
            }
            Some(b'"') => {
                self.outer.advance(1);
                if peek(self.outer) == Some(b'"') {
                    return 1;
                }
                self.closed = true;
                0
            }
            Some(_) => memchr2(b'"', b'\\', run).unwrap_or(run.len()),
        }
    }
}

impl Runs for Quoted<'_> {
    fn run(&mut self) -> &[u8] {
        if self.clean == 0 && !self.closed {
            self.clean = self.look();
        }
        &self.outer.run()[..self.clean]
    }

    fn advance(&mut self, len: usize) {
        self.clean -= len;
        self.outer.advance(len);
    }
}
