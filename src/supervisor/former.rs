//! Another publication for a slot that has been streamed: it is used once the slot is past its making, and until then the
//! changes flow through the former one. A change that was made before the publication can't be decoded with it.

use std::sync::Arc;
use std::time::Duration;

use super::database::Keep;
use crate::config::Database;
use crate::ident::PublicationName;
use crate::postgres::trouble::{Class, Diagnosis};
use crate::provision::{Consent, Round};
use crate::status::{Finding, Reason, Trouble};
use crate::stream::{End, Opened, Pipeline};

/// How often it is looked whether the slot is past the making.
pub(super) const LOOK: Duration = Duration::from_secs(10);

impl Keep {
    /// Through what the slot is streamed now: as declared, or through its former publication, and what is to be said of that.
    pub(super) async fn through(
        &self,
        opened: Opened,
        consent: Consent,
    ) -> Result<(Pipeline, Opened, Option<Finding>), End> {
        let Some(former) = opened.former() else { return Ok((self.pipeline.clone(), opened, None)) };
        let round = Round { former: Some(former.publication.clone()), ..self.round(opened.system_identifier()) };
        let needed = round.needs_former(consent, former.is_half).await.map_err(End::Trouble)?;
        if needed.is_none() {
            return Ok((self.pipeline.clone(), opened, None));
        }
        let pipeline = through(&self.pipeline, former.publication);
        let server = opened.close().through(&pipeline.database.publication);
        // What is recorded from here on is of that publication.
        let opened = pipeline.open(server).await.map_err(|(_, end)| end)?;
        Ok((pipeline, opened, needed))
    }
}

/// The same through `publication`, as it is.
fn through(pipeline: &Pipeline, publication: PublicationName) -> Pipeline {
    let database = Database {
        publication,
        scope: None,
        publish: None,
        publish_via_partition_root: None,
        publish_generated_columns: None,
        ..(*pipeline.database).clone()
    };
    Pipeline { database: Arc::new(database), ..pipeline.clone() }
}

/// The stream through `former` was ended since the declared publication will do.
pub(super) fn past(database: &Database, former: &Database) -> Diagnosis {
    let trouble = Trouble::new(
        Reason::Publication,
        format!("the slot {} is past the making of the publication {}", database.slot, database.publication),
        format!("nothing to do: the stream goes on through it, and {} is needed no more", former.publication),
    );
    Diagnosis { class: Class::Retry, trouble }
}
