//! Draws the same number of sentences of each kind at random, for a reader who judges how natural they sound.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::sentences::sentences;
use super::{Text, TextKind};

/// Returns `count` sentences as a Markdown list with a heading for each kind. The same seed draws the same sentences from the same texts.
pub(crate) fn sample(texts: &[Text], seed: u64, count: usize) -> String {
    let mut list = String::new();
    for (at, kind) in TextKind::ALL.into_iter().enumerate() {
        let of_kind = texts.iter().filter(|text| text.kind == kind);
        let mut distinct = BTreeSet::new();
        let pool: Vec<(&Text, &str)> = of_kind
            .flat_map(|text| sentences(&text.content).into_iter().map(move |sentence| (text, sentence)))
            .filter(|(_, sentence)| distinct.insert(*sentence))
            .collect();
        let share = (count + TextKind::ALL.len() - 1 - at) / TextKind::ALL.len();
        let mut order: Vec<_> = pool.iter().map(|(text, sentence)| (rank(seed, sentence), text, sentence)).collect();
        order.sort_by_key(|(rank, ..)| *rank);
        writeln!(list, "\n## {} ({} of {})\n", kind.name(), share.min(pool.len()), pool.len())
            .expect("writing to a string succeeds");
        for (_, text, sentence) in order.into_iter().take(share) {
            writeln!(list, "* {sentence}  ({}:{})", text.file, text.line).expect("writing to a string succeeds");
        }
    }
    list
}

/// Returns a number that depends only on the seed and the sentence, so that changes of other sentences do not affect its rank.
fn rank(seed: u64, sentence: &str) -> u64 {
    // FNV-1a, followed by the finalizer of SplitMix64.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ seed;
    for byte in sentence.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> Vec<Text> {
        let text = |at: usize| format!("Sentence number {at} is here. Sentence number {at} again is here.");
        (0..50)
            .map(|at| Text {
                kind: TextKind::ALL[at % TextKind::ALL.len()],
                file: "a.rs".to_owned(),
                line: at,
                content: text(at),
            })
            .collect()
    }

    #[test]
    fn a_seed_always_draws_the_same_sentences_and_another_one_draws_others() {
        assert_eq!(sample(&texts(), 7, 16), sample(&texts(), 7, 16));
        assert_ne!(sample(&texts(), 7, 16), sample(&texts(), 8, 16));
    }

    #[test]
    fn every_kind_has_its_share() {
        let drawn = sample(&texts(), 1, 20);
        assert_eq!(drawn.lines().filter(|line| line.starts_with("* ")).count(), 20);
        assert!(drawn.contains("## Help (3 of 14)") && drawn.contains("## Tests (2 of 12)"), "{drawn}");
    }
}
