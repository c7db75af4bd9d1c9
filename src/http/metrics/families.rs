//! The table of all metrics.

use jiff::Timestamp;

use super::{Family, Read, Samples, Seen};
use crate::config::Status;
use crate::status::{Counts, DatabaseHealth, State, WalUse};

/// Every metric, in the order in which they are shown.
pub(in crate::http) const FAMILIES: &[Family] = &[
    agent("slotd_build_info", "Always 1; the version of slotd as a label.", |seen, out| {
        out.gauge(&[("version", seen.agent.version)], 1.0);
    }),
    agent("slotd_start_time_seconds", "When the agent was started, in Unix time.", |seen, out| {
        out.gauge(&[], seconds(seen.agent.started));
    }),
    agent("slotd_ready", "1 once each database of the file has had its first round.", |seen, out| {
        out.gauge(&[], flag(seen.health.ready));
    }),
    agent("slotd_agent_verdict", "1 for the verdict on the whole, as /healthz gives it.", |seen, out| {
        out.one_hot("verdict", VERDICTS, seen.health.status.as_str());
    }),
    agent(
        "slotd_config_last_reload_successful",
        "0 while a changed file is rejected and the old one is in force.",
        |seen, out| {
            out.gauge(&[], flag(seen.agent.config_rejected.is_none()));
        },
    ),
    agent(
        "slotd_config_last_reload_success_timestamp_seconds",
        "When the file was last taken over, in Unix time.",
        |seen, out| {
            out.gauge(&[], seconds(seen.agent.config_loaded));
        },
    ),
    agent_counter(
        "slotd_log_lines_lost_total",
        "Lines of the log that were lost, since nobody read it.",
        |seen, out| {
            out.counter(&[], seen.lost_log_lines);
        },
    ),
    database("slotd_up", "1 while the database is streaming.", |one, out| {
        out.gauge(&[], flag(one.state == State::Streaming));
    }),
    database("slotd_verdict", "1 for the verdict on the database, as /healthz gives it.", |one, out| {
        out.one_hot("verdict", VERDICTS, one.verdict.as_str());
    }),
    database("slotd_status", "1 for the operator's wish, as in the file.", |one, out| {
        let wish = match one.status {
            Status::Active => "active",
            Status::Disabled => "disabled",
        };
        out.one_hot("status", &["active", "disabled"], wish);
    }),
    database("slotd_state", "1 for the state that is observed.", |one, out| {
        out.one_hot("state", &State::ALL.map(State::as_str), one.state.as_str());
    }),
    database("slotd_reason", "1 for the reason of the state; no series while streaming.", |one, out| {
        if let Some(reason) = one.reason {
            out.gauge(&[("reason", reason.as_str())], 1.0);
        }
    }),
    database(
        "slotd_state_since_timestamp_seconds",
        "Since when state and reason are what they are, in Unix time.",
        |one, out| {
            out.gauge(&[], seconds(one.since));
        },
    ),
    database("slotd_findings", "What is to be mended and does not stop the stream, by its code.", |one, out| {
        let mut codes: Vec<_> = one.findings.iter().map(|finding| finding.code).collect();
        codes.sort_unstable();
        for same in codes.chunk_by(|a, b| a == b) {
            out.gauge(&[("code", same[0])], float(same.len() as u64));
        }
    }),
    database("slotd_lag_bytes", "WAL from what is safe in every sink to the server's WAL end.", |one, out| {
        out.known(one.lag.bytes.map(float));
    }),
    database("slotd_lag_seconds", "How long ago the oldest WAL end that is not safe yet was seen.", |one, out| {
        out.known(one.lag.seconds);
    }),
    database(
        "slotd_last_message_timestamp_seconds",
        "When a change or a keepalive last came, in Unix time.",
        |one, out| {
            out.known(one.last_message.map(seconds));
        },
    ),
    database(
        "slotd_last_acknowledged_timestamp_seconds",
        "When something was last acknowledged, in Unix time.",
        |one, out| {
            out.known(one.last_acknowledged.map(seconds));
        },
    ),
    database(
        "slotd_last_observed_timestamp_seconds",
        "When the slot was last looked for on its server, in Unix time.",
        |one, out| {
            out.known(one.observed.map(seconds));
        },
    ),
    slot("slotd_slot_retained_wal_bytes", "WAL that the slot makes its server keep.", |wal, out| {
        out.gauge(&[], float(wal.retained_bytes));
    }),
    slot("slotd_slot_unconfirmed_wal_bytes", "Of it, what slotd has not acknowledged.", |wal, out| {
        out.gauge(&[], float(wal.ours_bytes));
    }),
    slot(
        "slotd_slot_held_wal_bytes",
        "Of it, what is acknowledged and held by transactions that were open then.",
        |wal, out| {
            out.gauge(&[], float(wal.held_bytes));
        },
    ),
    slot("slotd_slot_wal_budget_bytes", "WAL that the slot may retain: max_retained_wal.", |wal, out| {
        out.gauge(&[], float(wal.budget_bytes));
    }),
    slot("slotd_slot_wal_budget_ratio", "What is retained, as a share of the budget.", |wal, out| {
        out.gauge(&[], float(wal.retained_bytes) / float(wal.budget_bytes.max(1)));
    }),
    slot(
        "slotd_slot_safe_wal_size_bytes",
        "WAL that can still be written before the server may invalidate the slot; none without a limit.",
        |wal, out| {
            #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
            out.known(wal.safe_wal_size.map(|size| size as f64));
        },
    ),
    slot(
        "slotd_slot_time_to_budget_seconds",
        "How long until the budget is retained; none while the slot follows.",
        |wal, out| {
            out.known(wal.seconds_to_budget);
        },
    ),
    slot(
        "slotd_slot_time_to_invalidation_seconds",
        "How long that lasts at the rate of the last minutes; none while the slot follows.",
        |wal, out| {
            out.known(wal.seconds_to_invalidation);
        },
    ),
    slot(
        "slotd_slot_inactive_seconds",
        "How long nobody has held the slot, from PostgreSQL 17 on; none while it is held.",
        |wal, out| {
            out.known(wal.inactive_seconds);
        },
    ),
    slot(
        "slotd_slot_idle_timeout_seconds",
        "After how long without a reader the server invalidates it; none if it does not.",
        |wal, out| {
            out.known(wal.idle_timeout_seconds);
        },
    ),
    slot("slotd_slot_wal_status", "1 for wal_status of pg_replication_slots.", |wal, out| {
        if let Some(status) = &wal.wal_status {
            out.one_hot("status", &["reserved", "extended", "unreserved", "lost"], status);
        }
    }),
    slot("slotd_slot_invalidated", "1 for the server's reason for having invalidated the slot.", |wal, out| {
        const REASONS: &[&str] = &["wal_removed", "rows_removed", "wal_level_insufficient", "idle_timeout", "other"];
        let why = wal.invalidation.as_deref().unwrap_or_default();
        let known = if why.is_empty() || REASONS.contains(&why) { why } else { "other" };
        out.one_hot("reason", REASONS, known);
    }),
    counter(
        "slotd_reconnects_total",
        "Tries and streams that ended in trouble, by reason and SQLSTATE.",
        |counts, out| {
            for ((reason, sqlstate), count) in &counts.reconnects {
                out.counter(&[("reason", reason), ("sqlstate", sqlstate)], *count);
            }
        },
    ),
    counter("slotd_delivered_changes_total", "Changes that the sink has made durable.", |counts, out| {
        for (sink, counts) in &counts.sinks {
            out.counter(&[("sink", sink.as_str())], counts.changes);
        }
    }),
    counter(
        "slotd_delivered_transactions_total",
        "Whole transactions, and messages outside of any, that the sink has made durable.",
        |counts, out| {
            for (sink, counts) in &counts.sinks {
                out.counter(&[("sink", sink.as_str())], counts.transactions);
            }
        },
    ),
    counter(
        "slotd_delivered_bytes_total",
        "Bytes of the replication messages that the changes came in.",
        |counts, out| {
            for (sink, counts) in &counts.sinks {
                out.counter(&[("sink", sink.as_str())], counts.bytes);
            }
        },
    ),
    counter(
        "slotd_sink_failures_total",
        "How often the sink refused, or could not do, what it was asked.",
        |counts, out| {
            for (sink, counts) in &counts.sinks {
                out.counter(&[("sink", sink.as_str())], counts.failures);
            }
        },
    ),
];

const VERDICTS: &[&str] = &["pass", "warn", "fail"];

const fn agent(name: &'static str, help: &'static str, read: fn(&Seen, &mut Samples)) -> Family {
    Family { name, help, read: Read::Agent(read) }
}

const fn agent_counter(name: &'static str, help: &'static str, read: fn(&Seen, &mut Samples)) -> Family {
    Family { name, help, read: Read::AgentCounter(read) }
}

const fn database(name: &'static str, help: &'static str, read: fn(&DatabaseHealth, &mut Samples)) -> Family {
    Family { name, help, read: Read::Database(read) }
}

const fn slot(name: &'static str, help: &'static str, read: fn(&WalUse, &mut Samples)) -> Family {
    Family { name, help, read: Read::Slot(read) }
}

const fn counter(name: &'static str, help: &'static str, read: fn(&Counts, &mut Samples)) -> Family {
    Family { name, help, read: Read::Counter(read) }
}

fn flag(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float, exact up to 8 PiB")]
const fn float(number: u64) -> f64 {
    number as f64
}

fn seconds(moment: Timestamp) -> f64 {
    moment.as_duration().as_secs_f64()
}
