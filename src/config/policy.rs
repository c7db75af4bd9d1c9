//! What slotd may do by itself.

/// What the running agent does to what is not as declared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Provision {
    /// Nothing: it reports.
    Report,
    /// It makes what is missing, and reports the rest.
    #[default]
    Create,
    /// It alters what slotd made, too.
    Apply,
}

/// What is done once a slot retains its whole budget.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnWalLimit {
    #[default]
    Alert,
    /// Its changes are discarded, behind a gap record.
    Drain,
    /// The slot is dropped.
    Drop,
}

/// What becomes of the slot of a database that is disabled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnDisable {
    /// It stays where it is, and pins WAL.
    #[default]
    Keep,
    /// Its changes are discarded, behind a gap record.
    Drain,
    /// It is dropped.
    Drop,
}

/// What is done once a slot is lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnSlotLost {
    /// The operator decides.
    #[default]
    Stop,
    /// It is made anew behind a gap record.
    Recreate,
}

impl Provision {
    /// With their words in the file.
    pub const ALL: &[(&str, Self)] = &[("create", Self::Create), ("apply", Self::Apply), ("report", Self::Report)];
}

impl OnWalLimit {
    /// With their words in the file.
    pub const ALL: &[(&str, Self)] = &[("alert", Self::Alert), ("drain", Self::Drain), ("drop", Self::Drop)];
}

impl OnDisable {
    /// With their words in the file.
    pub const ALL: &[(&str, Self)] = &[("keep", Self::Keep), ("drain", Self::Drain), ("drop", Self::Drop)];
}

impl OnSlotLost {
    /// With their words in the file.
    pub const ALL: &[(&str, Self)] = &[("stop", Self::Stop), ("recreate", Self::Recreate)];
}
