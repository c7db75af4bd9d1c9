//! Crash points: slotd aborts at every named step between reading a message and sending its acknowledgement, rotation
//! included; after the next start the files hold the tables' own history.

use slotd::faults::Point;

use crate::support::{Cluster, History, Slotd, compare, seed};

/// Small files, so that they rotate all the time.
const ROTATE: &str = "[sinks.changes]\ntype = \"file\"\nrotate_size = \"64kB\"\n";

/// Lets slotd die the `nth` time it comes to `point`, starts it again, and compares.
async fn dies_at(point: Point, nth: u32, sink: &str) {
    let cluster = Cluster::shared(18);
    let dbname = cluster.create_database().await;
    History::create(cluster, &dbname).await;
    let mut slotd = Slotd::new(&format!("{sink}{}", cluster.entry(&dbname)));
    slotd.set_env("SLOTD_CRASH_AT", &format!("{point:?}:{nth}"));
    slotd.start();
    // What is committed before the slot stands is not its to deliver.
    slotd.await_state(&dbname, "streaming").await;
    let history = History::begin(cluster, &dbname, 2, seed());
    let end = slotd.ended().await;
    assert!(!end.success(), "{point:?} was never reached\n{}", slotd.log());
    assert!(slotd.log().contains(&format!("crash point {point:?}")), "{}", slotd.log());
    println!("{point:?}:{nth} reached");
    slotd.unset_env("SLOTD_CRASH_AT");
    slotd.start();
    slotd.await_state(&dbname, "streaming").await;
    history.stop().await;
    slotd.await_acknowledged(cluster, &dbname).await;
    compare(&slotd.lines(&dbname), &History::expected(cluster, &dbname).await).assert_exact();
    assert!(slotd.sigterm().await.success(), "{}", slotd.log());
}

/// Idle positions are written while nothing of ours flows.
async fn dies_idle_at(point: Point) {
    let cluster = Cluster::shared(18);
    let (dbname, busy) = (cluster.create_database().await, cluster.create_database().await);
    History::create(cluster, &dbname).await;
    let mut slotd = Slotd::new(&cluster.entry(&dbname));
    slotd.set_env("SLOTD_CRASH_AT", &format!("{point:?}:3"));
    slotd.start();
    History::create(cluster, &busy).await;
    let elsewhere = History::begin(cluster, &busy, 1, seed());
    assert!(!slotd.ended().await.success(), "{point:?} was never reached");
    elsewhere.stop().await;
    let history = History::begin(cluster, &dbname, 1, seed());
    slotd.unset_env("SLOTD_CRASH_AT");
    slotd.start();
    slotd.await_lines(&dbname, 50).await;
    history.stop().await;
    slotd.await_acknowledged(cluster, &dbname).await;
    compare(&slotd.lines(&dbname), &History::expected(cluster, &dbname).await).assert_exact();
}

/// A test for each point, so that they run side by side; a point without one does not compile.
macro_rules! points {
    ($($name:ident: $point:ident at $($nth:literal)*),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $name() {
                $(dies_at(Point::$point, $nth, ROTATE).await;)*
            }
        )*

        /// Whether a test above, or one of its own below, stands for the point.
        fn is_tested(point: Point) -> bool {
            match point {
                $(Point::$point)|* => true,
                Point::KeepRemoved | Point::PositionsSynced | Point::PositionsWritten => true,
            }
        }
    };
}

points! {
    after_a_batch_is_cut: BatchCut at 1 20,
    after_a_batch_is_sent: BatchSent at 1 20,
    with_half_of_a_batch_in_the_file: FileHalfWritten at 1 20,
    with_a_batch_in_the_file: FileWritten at 1 20,
    after_the_file_is_fsynced: FileSynced at 1 20,
    after_the_sidecar_is_written: SidecarWritten at 5 20,
    after_the_sidecar_is_fsynced: SidecarSynced at 5 20,
    after_a_rotation_has_begun: RotateBegun at 1 3,
    after_the_file_is_renamed: RotateRenamed at 1 3,
    after_the_next_file_is_made: RotateCreated at 1 3,
    after_both_names_are_durable: RotateSynced at 1 3,
    after_the_pipeline_knows: BatchDurable at 1 20,
    before_an_acknowledgement_is_sent: AckEncoded at 2 5,
    after_an_acknowledgement_is_sent: AckSent at 2 5,
}

#[test]
fn every_point_has_a_test() {
    println!("{:?}", Point::ALL);
    assert!(Point::ALL.into_iter().all(is_tested));
}

#[tokio::test]
async fn after_idle_positions_are_written() {
    dies_idle_at(Point::PositionsWritten).await;
}

#[tokio::test]
async fn after_idle_positions_are_fsynced() {
    dies_idle_at(Point::PositionsSynced).await;
}

#[tokio::test]
async fn after_keep_has_removed_a_file() {
    let cluster = Cluster::shared(18);
    let dbname = cluster.create_database().await;
    History::create(cluster, &dbname).await;
    let sink = ROTATE.to_owned() + "keep = \"256kB\"\n";
    let mut slotd = Slotd::new(&format!("{sink}{}", cluster.entry(&dbname)));
    slotd.set_env("SLOTD_CRASH_AT", "KeepRemoved:2");
    slotd.start();
    slotd.await_state(&dbname, "streaming").await;
    let history = History::begin(cluster, &dbname, 1, seed());
    assert!(!slotd.ended().await.success(), "nothing was removed\n{}", slotd.log());
    slotd.unset_env("SLOTD_CRASH_AT");
    slotd.start();
    slotd.await_state(&dbname, "streaming").await;
    history.stop().await;
    slotd.await_acknowledged(cluster, &dbname).await;
    // What is kept is the end of the history, whole.
    let lines = slotd.lines(&dbname);
    let kept = lines.iter().filter(|line| line["metadata"]["table_name"] == "events").count();
    let expected = History::expected(cluster, &dbname).await;
    assert!(kept < expected.len(), "nothing was removed");
    compare(&lines, &expected[expected.len() - kept..]).assert_exact();
}
