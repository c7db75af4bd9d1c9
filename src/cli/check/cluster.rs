//! What the databases of a file take of one cluster together: each alone may find room, and all of them none.

use std::collections::BTreeMap;

use crate::cli::plan::Share;
use crate::postgres::preflight::Limit;
use crate::status::Finding;

/// What there is not enough of, for each of those that will take one: its place among `shares`, and the words.
pub(super) fn crowded(shares: &[Option<Share>]) -> Vec<(usize, Finding)> {
    let mut clusters: BTreeMap<u64, Vec<(usize, &Share)>> = BTreeMap::new();
    for (at, share) in shares.iter().enumerate() {
        if let Some(share) = share {
            clusters.entry(share.system_identifier).or_default().push((at, share));
        }
    }
    let mut found = Vec::new();
    for cluster in clusters.values() {
        found.extend(short("no_free_slot", "max_replication_slots", cluster, |share| {
            share.takes_slot.then_some(share.allowed.slots)
        }));
        found.extend(short("no_free_walsender", "max_wal_senders", cluster, |share| {
            share.takes_walsender.then_some(share.allowed.walsenders)
        }));
    }
    found
}

/// Of one setting: `takes` gives its limit, if one more is taken.
fn short(
    code: &'static str,
    setting: &str,
    cluster: &[(usize, &Share)],
    takes: impl Fn(&Share) -> Option<Limit>,
) -> Vec<(usize, Finding)> {
    let takers: Vec<_> = cluster.iter().filter_map(|(at, share)| Some((*at, takes(share)?))).collect();
    let Some(Limit { used, most }) = takers.iter().map(|(_, limit)| *limit).max_by_key(|limit| limit.used) else {
        return Vec::new();
    };
    let (left, count) = (most.saturating_sub(used), u32::try_from(takers.len()).unwrap_or(u32::MAX));
    // That none is left is told of each already.
    if left == 0 || count <= left {
        return Vec::new();
    }
    let found = Finding {
        code,
        sentence: format!(
            "{count} databases of the file take one more each of {setting} = {most} of this cluster, and {left} {} left",
            if left == 1 { "is" } else { "are" }
        ),
        hint: format!("run: ALTER SYSTEM SET {setting} = {}; and restart the server", most.saturating_add(count)),
    };
    takers.into_iter().map(|(at, _)| (at, found.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::preflight::Allowed;

    /// A database of the cluster, where so many of ten are in use, of either.
    fn share(system_identifier: u64, used: u32, takes_slot: bool, takes_walsender: bool) -> Option<Share> {
        let limit = Limit { used, most: 10 };
        let allowed = Allowed { slots: limit, walsenders: limit, ..Allowed::default() };
        Some(Share { system_identifier, takes_slot, takes_walsender, allowed })
    }

    #[test]
    fn what_many_take_together_is_counted_for_each_cluster() {
        const BOTH: [&str; 2] = ["no_free_slot", "no_free_walsender"];
        for (shares, expected) in [
            (vec![], vec![]),
            (vec![None, share(1, 9, true, true)], vec![]),
            (vec![share(1, 8, true, true), share(1, 8, true, true)], vec![]),
            // None left: told of each already.
            (vec![share(1, 10, true, true), share(1, 10, true, true)], vec![]),
            (vec![share(1, 9, true, true), None, share(2, 9, true, true)], vec![]),
            (
                vec![share(1, 9, true, true), None, share(1, 9, true, true)],
                vec![(0, BOTH[0]), (2, BOTH[0]), (0, BOTH[1]), (2, BOTH[1])],
            ),
            (
                vec![share(1, 9, false, true), share(1, 9, true, true), share(1, 9, false, false)],
                vec![(0, BOTH[1]), (1, BOTH[1])],
            ),
        ] {
            let found: Vec<_> = crowded(&shares).into_iter().map(|(at, found)| (at, found.code)).collect();
            assert_eq!(found, expected, "{shares:?}");
        }
    }
}
