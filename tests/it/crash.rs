//! Crash points: slotd aborts at every named step between reading a message and sending its acknowledgement, rotation
//! included; after the next start the files hold the tables' own history.

use slotd::faults::Point;

use crate::support::{Cluster, History, Options, Pair, Slotd, await_copy, compare, is_committed, seed};

/// Small files, so that they rotate all the time.
const ROTATE: &str = "[sinks.changes]\ntype = \"file\"\nrotate_size = \"64kB\"\n";

/// Starts slotd so that it dies the `nth` time it comes to `point`, and waits for that.
async fn crash(slotd: &mut Slotd, point: Point, nth: u32) {
    slotd.set_env("SLOTD_CRASH_AT", &format!("{point:?}:{nth}"));
    slotd.start();
    let ended = slotd.ended_at(&format!("crash point {point:?}")).await;
    println!("{point:?}, passed {nth} times: {ended}");
    slotd.unset_env("SLOTD_CRASH_AT");
}

/// A database of its own with the history's tables, and a slotd that has taken up its slot and was stopped. What is
/// committed from now on is its to deliver.
async fn begun(cluster: &Cluster, sink: &str) -> (String, Slotd) {
    let dbname = cluster.create_database().await;
    History::create(cluster, &dbname).await;
    let mut slotd = Slotd::run(&format!("{sink}{}", cluster.entry(&dbname)));
    slotd.await_state(&dbname, "streaming").await;
    assert!(slotd.sigterm().await.success(), "{}", slotd.log());
    (dbname, slotd)
}

/// Lets slotd live until more than was there is delivered, and stops the workload and it in order.
async fn live_on(slotd: &mut Slotd, cluster: &Cluster, dbname: &str, history: History) {
    slotd.start();
    slotd.await_state(dbname, "streaming").await;
    History::await_more(cluster, dbname, 20).await;
    history.stop().await;
    slotd.await_acknowledged(cluster, dbname).await;
    assert!(slotd.sigterm().await.success(), "{}", slotd.log());
}

/// Crashes while changes flow.
async fn dies_busy(major: u32, point: Point, nths: &[u32]) {
    let cluster = Cluster::shared(major);
    let (dbname, mut slotd) = begun(cluster, ROTATE).await;
    let history = History::begin(cluster, &dbname, 2, seed());
    for nth in nths {
        crash(&mut slotd, point, *nth).await;
    }
    live_on(&mut slotd, cluster, &dbname, history).await;
    compare(&slotd.lines(&dbname), &History::expected(cluster, &dbname).await).assert_exact();
}

/// Crashes while others move the WAL: only then are idle positions written. In between changes of its own are committed.
async fn dies_idle(major: u32, point: Point, nths: &[u32]) {
    let cluster = Cluster::shared(major);
    let (dbname, mut slotd) = begun(cluster, "").await;
    let busy = cluster.create_database().await;
    History::create(cluster, &busy).await;
    let elsewhere = History::begin(cluster, &busy, 1, seed());
    for nth in nths {
        crash(&mut slotd, point, *nth).await;
        let history = History::begin(cluster, &dbname, 1, seed());
        History::await_more(cluster, &dbname, 5).await;
        history.stop().await;
    }
    elsewhere.stop().await;
    let history = History::begin(cluster, &dbname, 1, seed());
    live_on(&mut slotd, cluster, &dbname, history).await;
    compare(&slotd.lines(&dbname), &History::expected(cluster, &dbname).await).assert_exact();
}

/// Crashes once `keep` has removed a file.
async fn dies_removing(major: u32, point: Point, nths: &[u32]) {
    let cluster = Cluster::shared(major);
    let (dbname, mut slotd) = begun(cluster, &format!("{ROTATE}keep = \"1MB\"\n")).await;
    // One writer, so that the order of the history is that of the commits.
    let history = History::begin(cluster, &dbname, 1, seed());
    for nth in nths {
        crash(&mut slotd, point, *nth).await;
    }
    live_on(&mut slotd, cluster, &dbname, history).await;
    // What is kept is the end of the history, whole. A file that is larger than `keep` goes as soon as it is finished; if
    // that was the last one, a little more is needed.
    let kept = |slotd: &Slotd| slotd.lines(&dbname).iter().filter(|line| is_committed(line)).count();
    for _ in 0..10 {
        if kept(&slotd) > 0 {
            break;
        }
        let history = History::begin(cluster, &dbname, 1, seed());
        live_on(&mut slotd, cluster, &dbname, history).await;
    }
    let kept = kept(&slotd);
    assert!(kept > 0, "all was removed");
    let mut expected = History::expected(cluster, &dbname).await;
    // Their places among the others are not those of their rows in the journal.
    expected.retain(|change| change.action != "outside");
    assert!(kept < expected.len(), "nothing was removed");
    compare(&slotd.lines(&dbname), &expected[expected.len() - kept..]).assert_exact();
}

async fn dies(major: u32, point: Point, nths: &[u32]) {
    match point {
        Point::KeepRemoved => dies_removing(major, point, nths).await,
        Point::PositionsWritten | Point::PositionsSynced => dies_idle(major, point, nths).await,
        _ => dies_busy(major, point, nths).await,
    }
}

/// A test for each point, so that they run side by side. It dies there each time the numbers say, one life after the
/// other.
macro_rules! points {
    ($($name:ident: $point:ident at $nths:expr),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $name() {
                dies(18, Point::$point, &$nths).await;
            }
        )*

        const TESTED: &[(Point, &[u32])] = &[$((Point::$point, &$nths)),*];
    };
}

points! {
    after_a_batch_is_cut: BatchCut at [1, 20],
    after_a_batch_is_sent: BatchSent at [1, 20],
    with_half_of_a_batch_in_the_file: FileHalfWritten at [1, 20],
    with_a_batch_in_the_file: FileWritten at [1, 20],
    after_the_file_is_fsynced: FileSynced at [1, 20],
    after_the_sidecar_is_written: SidecarWritten at [1, 20],
    after_the_sidecar_is_fsynced: SidecarSynced at [1, 20],
    after_a_rotation_has_begun: RotateBegun at [1, 3],
    after_the_file_is_renamed: RotateRenamed at [1, 3],
    after_the_next_file_is_made: RotateCreated at [1, 3],
    after_both_names_are_durable: RotateSynced at [1, 3],
    after_keep_has_removed_a_file: KeepRemoved at [1, 3],
    after_idle_positions_are_written: PositionsWritten at [1, 2],
    after_idle_positions_are_fsynced: PositionsSynced at [1, 2],
    after_the_pipeline_knows: BatchDurable at [1, 20],
    before_an_acknowledgement_is_sent: AckEncoded at [1, 5],
    after_an_acknowledgement_is_sent: AckSent at [1, 5],
}

#[test]
fn every_point_has_a_test() {
    let tested: Vec<Point> = TESTED.iter().map(|(point, _)| *point).collect();
    println!("{tested:?}");
    assert_eq!(tested, Point::ALL);
}

#[tokio::test]
#[ignore = "long: make test-long"]
async fn every_point_on_15() {
    for (point, nths) in TESTED {
        dies(15, *point, nths).await;
    }
}

/// The slot is there as soon as slotd has made it, whatever it could record of that: all that is committed after it
/// arrives.
#[tokio::test]
async fn while_the_slot_is_taken_up_for_the_first_time() {
    let cluster = Cluster::shared(18);
    for point in [Point::SidecarWritten, Point::SidecarSynced, Point::PositionsWritten, Point::PositionsSynced] {
        let dbname = cluster.create_database().await;
        History::create(cluster, &dbname).await;
        let mut slotd = Slotd::new(&format!("{ROTATE}{}", cluster.entry(&dbname)));
        crash(&mut slotd, point, 1).await;
        let slots = format!("SELECT count(*) FROM pg_replication_slots WHERE database = '{dbname}'");
        assert_eq!(cluster.value("postgres", &slots).await.as_deref(), Some("1"), "{point:?}");
        let history = History::begin(cluster, &dbname, 1, seed());
        History::await_more(cluster, &dbname, 20).await;
        live_on(&mut slotd, cluster, &dbname, history).await;
        compare(&slotd.lines(&dbname), &History::expected(cluster, &dbname).await).assert_exact();
    }
}

/// Points that are passed while changes flow.
fn busy() -> impl Iterator<Item = (Point, &'static [u32])> {
    let idle = [Point::KeepRemoved, Point::PositionsWritten, Point::PositionsSynced];
    TESTED.iter().copied().filter(move |(point, _)| !idle.contains(point))
}

fn followed(major: u32) -> (Cluster, Options) {
    let options = Options::default().set("hot_standby_feedback", "on");
    (Cluster::start(major, &options), options)
}

#[tokio::test]
#[ignore = "long: make test-long"]
async fn every_point_with_a_replica_as_the_source() {
    for major in [16, 17, 18] {
        let (primary, options) = followed(major);
        let pair = Pair::of(primary, &options, &[]).await;
        for (point, nths) in busy() {
            let dbname = pair.primary.create_database().await;
            History::create(&pair.primary, &dbname).await;
            let mut slotd = Slotd::run(&format!("{ROTATE}{}{}", pair.standby.entry(&dbname), pair.primary_key()));
            slotd.await_state(&dbname, "streaming").await;
            assert!(slotd.sigterm().await.success(), "{}", slotd.log());
            let history = History::begin(&pair.primary, &dbname, 2, seed());
            for nth in nths {
                crash(&mut slotd, point, *nth).await;
            }
            live_on(&mut slotd, &pair.primary, &dbname, history).await;
            compare(&slotd.lines(&dbname), &History::expected(&pair.primary, &dbname).await).assert_exact();
        }
    }
}

/// slotd dies, then the primary does, and a standby takes its place before slotd is there again.
#[tokio::test]
#[ignore = "long: make test-long"]
async fn every_point_across_a_failover() {
    for major in [17, 18] {
        for (point, nths) in busy() {
            let (primary, options) = followed(major);
            let dbname = primary.create_database().await;
            History::create(&primary, &dbname).await;
            let mut pair = Pair::that_fails_over(primary, &options, true).await;
            let mut slotd = Slotd::run(&format!("{ROTATE}{}", pair.with_hosts(&dbname)));
            slotd.await_state(&dbname, "streaming").await;
            // Under load a copy is behind at each try, and the server waits twice as long for the next one.
            let history = History::begin(&pair.primary, &dbname, 1, seed());
            History::await_more(&pair.primary, &dbname, 10).await;
            history.stop().await;
            await_copy(&pair.standby).await;
            let history = History::begin(&pair.primary, &dbname, 2, seed());
            assert!(slotd.sigterm().await.success(), "{}", slotd.log());
            for nth in nths {
                crash(&mut slotd, point, *nth).await;
            }
            pair.primary.kill9().unwrap();
            history.stop().await;
            pair.standby.promote().await;
            let history = History::begin(&pair.standby, &dbname, 2, seed());
            live_on(&mut slotd, &pair.standby, &dbname, history).await;
            compare(&slotd.lines(&dbname), &History::expected(&pair.standby, &dbname).await).assert_exact();
        }
    }
}
