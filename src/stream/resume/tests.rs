//! The table of "where a stream starts", a test for each row.

use super::*;
use crate::lsn::Timeline;

const SYSTEM: u64 = 7;

fn slot() -> SlotName {
    SlotName::new("slotd_shop").unwrap()
}

fn publication() -> PublicationName {
    PublicationName::new("slotd_shop").unwrap()
}

fn whole(commit: u64, end: u64) -> Cursor {
    Cursor { timeline: 1, commit_lsn: Lsn(commit), ordinal: Some(3), end_lsn: Some(EndLsn::of_commit(Lsn(end))) }
}

fn half(commit: u64) -> Cursor {
    Cursor { timeline: 1, commit_lsn: Lsn(commit), ordinal: Some(3), end_lsn: None }
}

fn message(lsn: u64) -> Cursor {
    Cursor { ordinal: None, ..half(lsn) }
}

fn standing(cursor: Option<Cursor>, acknowledged: Option<u64>) -> Standing {
    let record = Record {
        beginning: 1,
        system_identifier: SYSTEM,
        timeline: Timeline { id: 1, begin: Lsn::ZERO },
        slot: slot(),
        publication: publication(),
        standby: false,
        acknowledged: acknowledged.map(|lsn| EndLsn::of_commit(Lsn(lsn))),
        cursor,
        open_gap: None,
        diverged: None,
    };
    Standing { record: Some(record), cursor, bare: false }
}

struct World {
    history: History,
    wal_end: u64,
    confirmed: u64,
    in_recovery: bool,
    publication: &'static str,
}

impl Default for World {
    fn default() -> Self {
        Self {
            history: History::begin(1),
            wal_end: 1000,
            confirmed: 100,
            in_recovery: false,
            publication: "slotd_shop",
        }
    }
}

impl World {
    fn judge(&self, standing: &Standing) -> Judgement {
        let (slot, publication) = (slot(), PublicationName::new(self.publication).unwrap());
        let server = Server {
            system_identifier: SYSTEM,
            history: &self.history,
            wal_end: Lsn(self.wal_end),
            in_recovery: self.in_recovery,
            confirmed_flush_lsn: Lsn(self.confirmed),
            slot: &slot,
            publication: &publication,
        };
        judge(&server, standing)
    }

    fn reason(&self, standing: &Standing) -> Reason {
        match self.judge(standing) {
            Judgement::Lost { reason, .. } => reason,
            other => panic!("not lost: {other:?}"),
        }
    }
}

#[test]
fn another_system_identifier_is_another_cluster() {
    let mut standing = standing(Some(whole(90, 100)), Some(100));
    standing.record.as_mut().unwrap().system_identifier = 8;
    assert_eq!(World::default().reason(&standing), Reason::OtherCluster);
}

#[test]
fn a_timeline_below_ours_is_diverged() {
    let mut standing = standing(Some(whole(90, 100)), Some(100));
    standing.record.as_mut().unwrap().timeline = Timeline { id: 2, begin: Lsn(80) };
    assert_eq!(World::default().reason(&standing), Reason::Diverged);
}

#[test]
fn a_history_without_ours_is_diverged() {
    let mut standing = standing(Some(whole(0x90, 0x98)), Some(0x98));
    for (ours, history) in [
        (2, History::parse(4, "1\t0/50\twhy\n3\t0/60\twhy\n")),
        // Of the same number, but it began elsewhere: both were promoted from one, apart from each other.
        (2, History::parse(2, "1\t0/50\twhy\n")),
        (2, History::parse(3, "1\t0/50\twhy\n2\t0/99\twhy\n")),
    ] {
        standing.record.as_mut().unwrap().timeline = Timeline { id: ours, begin: Lsn(0x40) };
        let world = World { history: history.unwrap(), ..World::default() };
        assert_eq!(world.reason(&standing), Reason::Diverged);
    }
    standing.record.as_mut().unwrap().timeline.begin = Lsn(0x50);
    let history = History::parse(3, "1\t0/50\twhy\n2\t0/99\twhy\n").unwrap();
    assert!(matches!(World { history, ..World::default() }.judge(&standing), Judgement::Resume { .. }));
}

#[test]
fn a_position_beyond_the_switch_is_diverged_and_both_lsns_are_named() {
    let world = World { history: History::parse(2, "1\t0/80\twhy\n").unwrap(), confirmed: 0x70, ..World::default() };
    let standing = standing(Some(whole(0x90, 0xA0)), Some(0xA0));
    let Judgement::Lost { reason: Reason::Diverged, sentence } = world.judge(&standing) else { panic!() };
    assert!(sentence.contains("0/80") && sentence.contains("0/A0"), "{sentence}");
}

/// A slot that was made anew behind the switch looks the same, and everything up to there would be taken for delivered.
#[test]
fn a_slot_beyond_the_switch_does_not_prove_that_the_stream_lived_through_the_promotion() {
    let world = World { history: History::parse(2, "1\t0/80\twhy\n").unwrap(), confirmed: 0x90, ..World::default() };
    assert_eq!(world.reason(&standing(Some(whole(0x90, 0xA0)), Some(0xA0))), Reason::Diverged);
}

#[test]
fn a_stream_of_a_standby_lives_through_its_promotion() {
    let world = World { history: History::parse(2, "1\t0/80\twhy\n").unwrap(), confirmed: 0xA0, ..World::default() };
    let mut standing = standing(Some(whole(0x90, 0xA0)), Some(0xA0));
    standing.record.as_mut().unwrap().standby = true;
    assert!(matches!(world.judge(&standing), Judgement::Resume { start, .. } if start == Lsn(0xA0)));
    // The slot stands where the stream had not come from this server, or beyond what we have said.
    for confirmed in [0x80, 0xA1] {
        let history = world.history.clone();
        assert_eq!(World { history, confirmed, ..World::default() }.reason(&standing), Reason::Diverged, "{confirmed}");
    }
}

#[test]
fn a_position_before_the_switch_holds() {
    let world = World { history: History::parse(2, "1\t0/800\twhy\n").unwrap(), ..World::default() };
    let standing = standing(Some(whole(90, 100)), Some(100));
    assert!(matches!(world.judge(&standing), Judgement::Resume { .. }));
}

#[test]
fn a_position_beyond_the_end_of_wal_is_diverged() {
    let world = World { wal_end: 99, confirmed: 80, ..World::default() };
    assert_eq!(world.reason(&standing(Some(whole(90, 100)), Some(100))), Reason::Diverged);
}

#[test]
fn a_server_that_was_restored_stays_diverged_when_its_wal_has_passed_our_position() {
    let mut standing = standing(Some(whole(90, 100)), Some(100));
    let record = standing.record.clone().unwrap();
    let world = World { wal_end: 99, confirmed: 80, ..World::default() };
    let history = History::begin(1);
    let slot = slot();
    let server = Server {
        system_identifier: SYSTEM,
        history: &history,
        wal_end: Lsn(99),
        in_recovery: false,
        confirmed_flush_lsn: Lsn(80),
        slot: &slot,
        publication: &publication(),
    };
    let sentence = diverged(&server, &record);
    assert!(sentence.as_ref().is_some_and(|sentence| sentence.contains("0/64") && sentence.contains("0/63")));
    assert_eq!(diverged(&Server { wal_end: Lsn(100), ..server.clone() }, &record), None);
    assert_eq!(diverged(&Server { in_recovery: true, ..server }, &record), None);
    standing.record.as_mut().unwrap().diverged = sentence;
    assert_eq!(World { wal_end: 5000, ..world }.reason(&standing), Reason::Diverged);
}

#[test]
fn a_hole_begins_where_the_sink_really_ends() {
    assert_eq!(end_of_sink(&Standing::default()), None);
    assert_eq!(end_of_sink(&standing(None, Some(100))), Some(Lsn(100)));
    assert_eq!(end_of_sink(&standing(Some(whole(90, 100)), Some(140))), Some(Lsn(140)), "idle up to there");
    let cut = |cursor| Standing { cursor, ..standing(Some(whole(90, 100)), Some(140)) };
    assert_eq!(end_of_sink(&cut(Some(half(50)))), Some(Lsn(50)));
    assert_eq!(end_of_sink(&cut(None)), Some(Lsn::ZERO));
    assert_eq!(end_of_sink(&Standing { cursor: Some(half(50)), ..Standing::default() }), Some(Lsn(50)));
}

#[test]
fn on_a_standby_a_position_beyond_the_end_of_wal_waits_for_its_replay() {
    let world = World { wal_end: 99, confirmed: 80, in_recovery: true, ..World::default() };
    assert!(matches!(world.judge(&standing(Some(whole(90, 100)), Some(100))), Judgement::Wait { .. }));
}

#[test]
fn a_slot_that_nothing_is_known_of_is_adopted_where_it_stands() {
    assert_eq!(World::default().judge(&Standing::default()), Judgement::Adopt { at: Lsn(100), behind: None });
}

#[test]
fn behind_another_slots_changes_there_is_a_hole() {
    let mut standing = standing(Some(whole(40, 50)), Some(60));
    standing.record.as_mut().unwrap().slot = SlotName::new("other").unwrap();
    assert_eq!(World::default().judge(&standing), Judgement::Adopt { at: Lsn(100), behind: Some(Lsn(60)) });
}

#[test]
fn a_cursor_without_a_record_and_a_slot_past_it_is_position_unknown() {
    let standing = Standing { cursor: Some(whole(80, 90)), ..Standing::default() };
    assert_eq!(World::default().reason(&standing), Reason::PositionUnknown);
    let standing = Standing { cursor: Some(whole(90, 100)), ..Standing::default() };
    assert!(matches!(World::default().judge(&standing), Judgement::Resume { start: Lsn(100), .. }));
}

#[test]
fn a_slot_past_both_our_acknowledged_position_and_the_sink_was_moved() {
    let world = World { confirmed: 101, ..World::default() };
    assert_eq!(world.reason(&standing(Some(whole(90, 100)), Some(100))), Reason::SlotAdvanced);
    assert_eq!(world.reason(&standing(None, Some(100))), Reason::SlotAdvanced);
}

#[test]
fn a_slot_past_the_sink_but_not_past_an_idle_acknowledgement_is_ours() {
    let world = World { confirmed: 500, ..World::default() };
    let standing = standing(Some(whole(90, 100)), Some(500));
    assert!(matches!(world.judge(&standing), Judgement::Resume { start: Lsn(100), .. }));
}

#[test]
fn a_sink_behind_its_record_resumes_where_the_slot_still_has_what_is_missing() {
    let mut standing = standing(Some(whole(290, 300)), Some(300));
    standing.cursor = Some(whole(190, 200));
    let world = World { confirmed: 200, ..World::default() };
    assert_eq!(world.judge(&standing), Judgement::Resume { start: Lsn(200), held: Some(whole(190, 200)) });
    let world = World { confirmed: 201, ..World::default() };
    assert_eq!(world.reason(&standing), Reason::SinkBehind);
    standing.cursor = None;
    assert_eq!(world.reason(&standing), Reason::SinkBehind);
}

#[test]
fn a_sink_that_lost_its_record_is_behind_unless_nothing_was_ever_delivered() {
    let bare = Standing { bare: true, cursor: None, ..standing(None, Some(100)) };
    assert!(matches!(World::default().judge(&bare), Judgement::Resume { start: Lsn(100), held: None }));
    assert_eq!(World { confirmed: 101, ..World::default() }.reason(&bare), Reason::SinkBehind);
}

/// The transaction that comes once more proves that it is the same history.
#[test]
fn a_slot_that_fell_back_with_its_server_is_asked_for_the_last_transaction_that_the_sink_holds() {
    let standing = standing(Some(whole(90, 100)), Some(100));
    for (confirmed, start) in [(20, 90), (90, 90), (100, 100)] {
        let world = World { confirmed, ..World::default() };
        assert_eq!(world.judge(&standing), Judgement::Resume { start: Lsn(start), held: Some(whole(90, 100)) });
    }
}

#[test]
fn a_half_taken_transaction_is_asked_for_from_its_commit_lsn() {
    let standing = standing(Some(half(150)), Some(100));
    assert_eq!(World::default().judge(&standing), Judgement::Resume { start: Lsn(150), held: Some(half(150)) });
}

#[test]
fn without_a_cursor_it_goes_on_at_the_acknowledged_position() {
    let standing = standing(None, Some(100));
    assert_eq!(World::default().judge(&standing), Judgement::Resume { start: Lsn(100), held: None });
}

#[test]
fn a_message_is_asked_for_again_only_if_the_slot_is_before_it() {
    let held = Some(message(160));
    let resume = |start| Judgement::Resume { start: Lsn(start), held };
    for (confirmed, start) in [(100, 100), (160, 160), (170, 160)] {
        let judgement = World { confirmed, ..World::default() }.judge(&standing(held, Some(170)));
        assert_eq!(judgement, resume(start), "{confirmed}");
    }
}

#[test]
fn a_transaction_that_is_half_in_the_sink_goes_on_through_its_own_publication() {
    let other = World { publication: "another", ..World::default() };
    assert_eq!(other.judge(&standing(Some(half(160)), Some(120))), Judgement::HalfOf { publication: publication() });
    for cursor in [whole(160, 180), message(160)] {
        let judgement = other.judge(&standing(Some(cursor), Some(120)));
        assert!(matches!(judgement, Judgement::Resume { .. }), "{judgement:?}");
    }
}

#[test]
fn what_was_given_up_ends_where_the_slot_stands_unless_it_is_lost_for_another_reason() {
    let open = OpenGap { from: Lsn(80), reason: "disabled".to_owned(), dropped: false };
    let mut given_up = standing(None, Some(90));
    given_up.record.as_mut().unwrap().open_gap = Some(open.clone());
    for confirmed in [90, 500] {
        let close = Judgement::Close { from: Lsn(80), reason: "disabled".to_owned() };
        assert_eq!(World { confirmed, ..World::default() }.judge(&given_up), close);
    }
    assert_eq!(end_of_sink(&given_up), Some(Lsn(80)), "whatever closes it names the same beginning");
    assert_eq!(World { wal_end: 50, ..World::default() }.reason(&given_up), Reason::Diverged);
    let bare = Standing { bare: true, ..given_up.clone() };
    assert_eq!(World::default().reason(&bare), Reason::SinkBehind, "its files were taken away");
    given_up.record.as_mut().unwrap().system_identifier = 8;
    assert_eq!(World::default().reason(&given_up), Reason::OtherCluster);

    // The sink is ahead of the slot, and nothing was discarded yet.
    let mut ahead = standing(Some(whole(70, 80)), Some(60));
    ahead.record.as_mut().unwrap().open_gap = Some(open);
    for confirmed in [60, 80] {
        let judgement = World { confirmed, ..World::default() }.judge(&ahead);
        assert!(matches!(judgement, Judgement::Resume { held: Some(_), .. }), "{judgement:?}");
    }
    assert!(matches!(World { confirmed: 90, ..World::default() }.judge(&ahead), Judgement::Close { .. }));
    // It was lost, so the record begins anew with its slot.
    ahead = Standing { cursor: None, ..ahead };
    ahead.record.as_mut().unwrap().cursor = None;
    assert!(matches!(World { confirmed: 60, ..World::default() }.judge(&ahead), Judgement::Close { .. }));
}
