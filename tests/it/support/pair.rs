//! A primary and a standby that follows it by a physical slot.

use super::{Cluster, Options};

/// Both run.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) primary: Cluster,
    pub(crate) standby: Cluster,
}

impl Pair {
    /// Of `primary`, which is stopped for it and started again; the standby has its `options` and those `of_standby`.
    pub(crate) async fn of(mut primary: Cluster, options: &Options, of_standby: &[(&str, &str)]) -> Self {
        let snapshot = primary.save();
        primary.execute("postgres", "SELECT pg_create_physical_replication_slot('standby', true)").await;
        let conninfo = format!("host=127.0.0.1 port={} user=postgres dbname=postgres", primary.port());
        let options = options.clone().set("primary_conninfo", &conninfo).set("primary_slot_name", "standby");
        let options = of_standby.iter().fold(options, |options, (name, value)| options.set(name, value));
        let mut standby = primary.twin(&snapshot, &options);
        standby.make_standby();
        standby.start_again();
        let streams = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
        primary.await_value("postgres", streams, "1").await;
        Self { primary, standby }
    }

    /// A pair whose standby keeps copies of the primary's slots. `waits` says whether the primary sends no slot what the standby has
    /// not got.
    pub(crate) async fn that_fails_over(primary: Cluster, options: &Options, waits: bool) -> Self {
        let pair = Self::of(primary, options, &[("sync_replication_slots", "on")]).await;
        if waits {
            set(&pair.primary, "synchronized_standby_slots", "standby").await;
        }
        pair
    }

    /// An entry for `dbname` with both as `hosts`, whose slot fails over.
    pub(crate) fn with_hosts(&self, dbname: &str) -> String {
        let (entry, port) = (self.primary.entry(dbname), self.primary.port());
        let one = format!("hostname = \"127.0.0.1\"\nport = {port}\n");
        let both = format!("hosts = [\"127.0.0.1:{port}\", \"127.0.0.1:{}\"]\nfailover = true\n", self.standby.port());
        entry.replace(&one, &both)
    }

    /// What names the primary in an entry of the standby.
    pub(crate) fn primary_key(&self) -> String {
        format!("primary = {{ hostname = \"127.0.0.1\", port = {} }}\n", self.primary.port())
    }
}

/// Waits until the standby has a copy of the one slot that fails over.
pub(crate) async fn await_copy(standby: &Cluster) {
    let copied = "SELECT count(*) FROM pg_replication_slots WHERE synced AND NOT temporary";
    standby.await_value("postgres", copied, "1").await;
}

/// Changes a setting of a server that runs.
pub(crate) async fn set(cluster: &Cluster, name: &str, value: &str) {
    cluster.execute("postgres", &format!("ALTER SYSTEM SET {name} = '{value}'")).await;
    cluster.execute("postgres", "SELECT pg_reload_conf()").await;
    cluster.await_value("postgres", &format!("SELECT current_setting('{name}')"), value).await;
}
