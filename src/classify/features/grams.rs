//! Text -> hashes of its words, pairs of words, and character n-grams.

/// Characters of a text that are read.
const MAX_CHARS: usize = 6_000;
/// Shortest and longest character n-gram.
const SHORTEST: usize = 3;
const LONGEST: usize = 5;

/// Hashes of the n-grams of a text, in the order of the text and repeated as often as they stand there.
#[derive(Debug, Default)]
pub(super) struct Grams {
    /// Words of two and more characters, and pairs of neighbouring words.
    pub words: Vec<u64>,
    /// Character 3- to 5-grams of each word with a space on either side.
    pub characters: Vec<u64>,
}

/// Reads the first 6,000 characters of `text`, in lower case.
pub(super) fn grams(text: &str) -> Grams {
    let text = match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => text[..end].to_lowercase(),
        None => text.to_lowercase(),
    };
    let mut grams = Grams::default();

    let mut previous = None;
    let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    for word in words.filter(|word| word.chars().nth(1).is_some()) {
        let hash = hash_word(word);
        grams.words.push(hash);
        if let Some(previous) = previous {
            grams.words.push(folded_product(previous ^ KEYS[3], hash.rotate_left(29) ^ KEYS[4]));
        }
        previous = Some(hash);
    }

    let mut padded = Vec::new();
    for word in text.split_whitespace() {
        padded.clear();
        padded.push(' ');
        padded.extend(word.chars());
        padded.push(' ');
        for length in SHORTEST..=LONGEST {
            grams.characters.extend(padded.windows(length).map(hash_characters));
            // A short word is counted whole, once.
            if padded.len() <= length {
                break;
            }
        }
    }
    grams
}

/// Odd constants without pattern: the digits of pi. They are part of the format of a saved vocabulary.
const KEYS: [u64; 5] =
    [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7345, 0xa409_3822_299f_31d1, 0x082e_fa98_ec4e_6c89, 0x4528_21e6_38d0_1377];

/// The two halves of a 128-bit product, folded: the mixing step of wyhash.
fn folded_product(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

fn hash_word(word: &str) -> u64 {
    let mut hash = KEYS[0] ^ word.len() as u64;
    for bytes in word.as_bytes().chunks(8) {
        let mut padded = [0; 8];
        padded[..bytes.len()].copy_from_slice(bytes);
        hash = folded_product(hash ^ u64::from_le_bytes(padded), KEYS[1]);
    }
    folded_product(hash ^ KEYS[2], KEYS[1])
}

/// At most five characters of 21 bits fit into 128 bits, the first with a mark above it for the length.
fn hash_characters(characters: &[char]) -> u64 {
    let packed = characters.iter().fold(1u128, |packed, &c| packed << 21 | u128::from(u32::from(c)));
    let high = folded_product((packed >> 64) as u64 ^ KEYS[0], KEYS[1]);
    folded_product(packed as u64 ^ high, KEYS[2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_pairs_follow_the_token_pattern() {
        // "a" and "!" are no words; the pair skips them. Lower case, digits and underscores count.
        let grams = grams("VPN a! error_5 vpn");
        let (vpn, error) = (hash_word("vpn"), hash_word("error_5"));
        assert_eq!(grams.words.len(), 5);
        assert_eq!((grams.words[0], grams.words[1], grams.words[3]), (vpn, error, vpn));
        assert_ne!(grams.words[2], grams.words[4], "pairs are ordered");
    }

    #[test]
    fn characters_stay_inside_a_word_and_a_short_word_counts_once() {
        let characters = |text| grams(text).characters.len();
        assert_eq!(characters("a"), 1); // " a "
        assert_eq!(characters("ab"), 3); // " ab", "ab ", " ab "
        assert_eq!(characters("abc"), 6); // three of 3, two of 4, one of 5
        assert_eq!(characters("abcd"), 4 + 3 + 2);
        assert_eq!(characters("  ab \n ab"), 6);
        assert_eq!(characters(""), 0);
    }

    #[test]
    fn different_n_grams_have_different_hashes() {
        let text: String = ('a'..='z').flat_map(|a| ('a'..='z').map(move |b| format!("{a}{b}ü{b}{a} "))).collect();
        let mut grams = grams(&text);
        let mut different: Vec<String> = Vec::new();
        for word in text.split_whitespace() {
            let padded: Vec<char> = format!(" {word} ").chars().collect();
            different.extend((3..=5).flat_map(|n| padded.windows(n).map(|w| w.iter().collect::<String>())));
        }
        different.sort_unstable();
        different.dedup();
        grams.characters.sort_unstable();
        grams.characters.dedup();
        assert_eq!(grams.characters.len(), different.len());
    }

    #[test]
    fn reads_a_bounded_part_of_any_text() {
        assert_eq!(grams(&"ab ".repeat(5_000)).words.len(), 2 * 2_000 - 1);
        assert_eq!(grams(&"\u{10ffff}".repeat(10)).characters.len(), 10 + 9 + 8);
    }
}
