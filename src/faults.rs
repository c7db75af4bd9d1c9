//! Faults for the proof: places to die, to panic or to get stuck at, and rules to break.
//!
//! Both exist in test builds only (feature `faults`); elsewhere [`point`], [`torn_at`] and [`broken`] compile to
//! nothing. What they prove stands in `docs/PROOF.md`.

/// A named step between reading a message and sending its acknowledgement, at which a test lets the process abort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// A batch was cut off from the wire.
    BatchCut,
    /// A batch was handed to the sink.
    BatchSent,
    /// Half of a batch's bytes are in the file.
    FileHalfWritten,
    /// All of a batch's bytes are in the file, not fsynced.
    FileWritten,
    /// The file is fsynced, the sidecar is not written.
    FileSynced,
    /// The sidecar is written, not fsynced.
    SidecarWritten,
    /// The sidecar is fsynced.
    SidecarSynced,
    /// The sidecar says that a rotation has begun.
    RotateBegun,
    /// The file has its finished name, not durably.
    RotateRenamed,
    /// The next file exists, not durably.
    RotateCreated,
    /// Both names are durable.
    RotateSynced,
    /// A finished file was removed by `keep`.
    KeepRemoved,
    /// The idle positions are written, not fsynced.
    PositionsWritten,
    /// The idle positions are fsynced.
    PositionsSynced,
    /// The pipeline knows that the batch is durable.
    BatchDurable,
    /// An acknowledgement is encoded, not sent.
    AckEncoded,
    /// An acknowledgement is sent.
    AckSent,
}

impl Point {
    /// All of them, in the order of a change's way.
    pub const ALL: [Self; 17] = [
        Self::BatchCut,
        Self::BatchSent,
        Self::FileHalfWritten,
        Self::FileWritten,
        Self::FileSynced,
        Self::SidecarWritten,
        Self::SidecarSynced,
        Self::RotateBegun,
        Self::RotateRenamed,
        Self::RotateCreated,
        Self::RotateSynced,
        Self::KeepRemoved,
        Self::PositionsWritten,
        Self::PositionsSynced,
        Self::BatchDurable,
        Self::AckEncoded,
        Self::AckSent,
    ];
}

/// A rule that a test breaks, to see that another test catches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// Report a batch as durable before the file is fsynced.
    AckBeforeFsync,
    /// Acknowledge a message's start plus its length.
    AckStartPlusLength,
    /// Leave the torn tail of the file.
    KeepTornTail,
    /// Start without comparing positions.
    SkipComparison,
    /// Acknowledge a keepalive while something is in flight.
    AckKeepaliveInFlight,
}

impl Break {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::AckBeforeFsync,
        Self::AckStartPlusLength,
        Self::KeepTornTail,
        Self::SkipComparison,
        Self::AckKeepaliveInFlight,
    ];
}

#[cfg(feature = "faults")]
mod on {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::{Break, Point};

    /// A variable that names a point, or `POINT:N` for the Nth time that it is passed.
    struct Wish {
        variable: &'static str,
        read: OnceLock<Option<(String, u64)>>,
        passed: AtomicU64,
    }

    impl Wish {
        const fn new(variable: &'static str) -> Self {
            Self { variable, read: OnceLock::new(), passed: AtomicU64::new(0) }
        }

        /// Whether it is fulfilled now.
        fn is_at(&self, point: Point) -> bool {
            let read = || {
                let text = std::env::var(self.variable).ok()?;
                let (name, nth) = text.split_once(':').unwrap_or((&text, "1"));
                Some((name.to_owned(), nth.parse().ok()?))
            };
            let Some((name, nth)) = self.read.get_or_init(read) else { return false };
            format!("{point:?}") == *name && self.passed.fetch_add(1, Ordering::Relaxed) + 1 == *nth
        }
    }

    /// Aborts here if `SLOTD_CRASH_AT` wishes it, panics if `SLOTD_PANIC_AT` does, and gets stuck for good if
    /// `SLOTD_STALL_AT` does.
    #[expect(clippy::print_stderr, reason = "the test that set the variable reads it")]
    pub fn point(point: Point) {
        static CRASH: Wish = Wish::new("SLOTD_CRASH_AT");
        static PANIC: Wish = Wish::new("SLOTD_PANIC_AT");
        static STALL: Wish = Wish::new("SLOTD_STALL_AT");
        if CRASH.is_at(point) {
            eprintln!("crash point {point:?}");
            std::process::abort();
        }
        if PANIC.is_at(point) {
            std::panic::panic_any(format!("panic point {point:?}"));
        }
        if STALL.is_at(point) {
            eprintln!("stall point {point:?}");
            loop {
                std::thread::park();
            }
        }
    }

    /// Where `len` bytes that are written in two halves are torn if the process dies in between.
    pub const fn torn_at(len: usize) -> usize {
        len / 2
    }

    /// Whether `SLOTD_BREAK` names the rule.
    pub fn broken(rule: Break) -> bool {
        static BROKEN: OnceLock<Option<String>> = OnceLock::new();
        BROKEN.get_or_init(|| std::env::var("SLOTD_BREAK").ok()).as_deref() == Some(&format!("{rule:?}"))
    }
}

#[cfg(not(feature = "faults"))]
mod on {
    use super::{Break, Point};

    /// Nothing, outside test builds.
    #[inline(always)]
    pub const fn point(_: Point) {}

    /// Nowhere, outside test builds: they are written at once.
    #[inline(always)]
    pub const fn torn_at(_: usize) -> usize {
        0
    }

    /// Never, outside test builds.
    #[inline(always)]
    pub const fn broken(_: Break) -> bool {
        false
    }
}

pub use on::{broken, point, torn_at};
