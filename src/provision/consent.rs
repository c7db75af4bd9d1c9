//! What may be done by whom.

use crate::config::Provision;

/// What may be done to a publication and its slot. Nothing is altered that slotd did not make or the file does not name,
/// and nothing is dropped that the operator does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consent {
    /// Make what is missing.
    pub create: bool,
    /// Alter the publication, if slotd made it.
    pub alter_ours: bool,
    /// Alter it, whoever made it: the operator says so.
    pub alter_any: bool,
    /// Drop it and make it anew, in one transaction.
    pub recreate_publication: bool,
}

impl From<Provision> for Consent {
    /// What the running agent does by itself.
    fn from(provision: Provision) -> Self {
        Self {
            create: provision >= Provision::Create,
            alter_ours: provision >= Provision::Apply,
            alter_any: false,
            recreate_publication: false,
        }
    }
}

impl Consent {
    /// What `slotd apply` does.
    #[must_use]
    pub const fn of_operator(recreate_publication: bool) -> Self {
        Self { create: true, alter_ours: true, alter_any: true, recreate_publication }
    }
}
