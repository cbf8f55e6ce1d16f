//! The words that a byte-level pre-tokenizer makes of a text. The crate's own keeps for each what it was cut from, byte by
//! byte, which takes most of the time to tokenize a short text; here are the words alone.

use regex_automata::meta::Regex;
use regex_automata::util::syntax;
use regex_automata::Input;
use serde_json::Value;
use tokenizers::Result;

use crate::vocabulary::byte_alphabet;

/// What GPT-2's byte level cuts at, if it does itself.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// How such a pattern ends: the last space before a word is the word's.
const SPACES: &str = r"|\s+(?!\S)|\s+";

enum Cut {
    /// At characters that are numeric: each by itself, or those in a row together.
    Numbers { each: bool },
    /// Pattern 0 is the pattern up to SPACES, pattern 1 spaces.
    Pattern(Regex),
}

pub struct Words {
    cuts: Vec<Cut>,
    /// What stands for a byte.
    letters: [char; 256],
}

impl Words {
    /// Of a pre-tokenizer as in tokenizer.json. None: it is of another kind.
    pub fn from_json(pre_tokenizer: &Value) -> Option<Words> {
        let alone = std::slice::from_ref(pre_tokenizer);
        let steps = pre_tokenizer["pretokenizers"].as_array().map_or(alone, Vec::as_slice);
        let (last, steps) = steps.split_last()?;
        if last["type"] != "ByteLevel" || last["add_prefix_space"] != false {
            return None;
        }
        let mut cuts = steps.iter().map(Cut::from_json).collect::<Option<Vec<Cut>>>()?;
        if last["use_regex"] != false {
            cuts.push(Cut::at(GPT2)?);
        }
        let mut letters = ['\0'; 256];
        for (letter, byte) in byte_alphabet() {
            letters[usize::from(byte)] = letter;
        }
        Some(Words { cuts, letters })
    }

    /// Calls `take` with each word, spelled in letters that stand for its bytes.
    pub fn each(&self, text: &str, take: &mut impl FnMut(&str) -> Result<()>) -> Result<()> {
        let mut word = String::new();
        cut(&self.cuts, text, &mut |piece| {
            word.clear();
            word.extend(piece.bytes().map(|byte| self.letters[usize::from(byte)]));
            take(&word)
        })
    }
}

impl Cut {
    fn from_json(step: &Value) -> Option<Cut> {
        match step["type"].as_str()? {
            "Digits" => Some(Cut::Numbers { each: step["individual_digits"].as_bool()? }),
            "Split" if step["behavior"] == "Isolated" && step["invert"] == false => {
                Cut::at(step["pattern"]["Regex"].as_str()?)
            }
            _ => None,
        }
    }

    fn at(pattern: &str) -> Option<Cut> {
        let words = syntax::parse(pattern.strip_suffix(SPACES)?).ok()?;
        let is_never_empty = words.properties().minimum_len()? > 0;
        let spaces = syntax::parse(r"\s+").ok()?;
        let regex = Regex::builder().build_many_from_hir(&[words, spaces]).ok()?;
        is_never_empty.then_some(Cut::Pattern(regex))
    }

    /// The end of the first piece of `text` from `start`, which is not its end.
    fn next(&self, text: &str, start: usize) -> usize {
        match self {
            Cut::Numbers { each } => {
                let mut rest = text[start..].char_indices();
                let first = rest.next().is_some_and(|(_, c)| c.is_numeric());
                let end = rest.find(|(_, c)| c.is_numeric() != first || (first && *each));
                end.map_or(text.len(), |(i, _)| start + i)
            }
            Cut::Pattern(regex) => {
                let Some(found) = regex.find(Input::new(text).range(start..)) else { return text.len() };
                if found.start() > start {
                    return found.start();
                }
                let spaces = &text[found.range()];
                let last = spaces.char_indices().next_back().map_or(0, |(i, _)| i);
                let is_before_a_word = found.pattern().as_usize() == 1 && found.end() < text.len();
                if is_before_a_word && last > 0 {
                    start + last
                } else {
                    found.end()
                }
            }
        }
    }
}

fn cut(cuts: &[Cut], text: &str, take: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
    let Some((first, rest)) = cuts.split_first() else {
        return if text.is_empty() { Ok(()) } else { take(text) };
    };
    let mut start = 0;
    while start < text.len() {
        let end = first.next(text, start);
        cut(rest, &text[start..end], take)?;
        start = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, PreTokenizerWrapper};

    use super::*;

    const QWEN: &str = concat!(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    );

    fn byte_level(use_regex: bool) -> Value {
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex})
    }

    fn sequence(first: Value, use_regex: bool) -> Value {
        json!({"type": "Sequence", "pretokenizers": [first, byte_level(use_regex)]})
    }

    fn digits(each: bool) -> Value {
        json!({"type": "Digits", "individual_digits": each})
    }

    fn split(pattern: &str) -> Value {
        json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false})
    }

    /// Texts of what the patterns tell apart, by a small generator.
    fn texts() -> impl Iterator<Item = String> {
        let pieces =
            ["a", "Wort", "é", "e\u{301}", "漢字", "7", "½", "٣", "'s", "'LL", "'", " ", "  ", "\t", "\n", "\r\n"];
        let pieces = pieces.into_iter().chain(["\u{a0}", "\u{2003}", "!", "-_", "🙂", "\u{0}", "'re", "\u{200d}"]);
        let pieces: Vec<&str> = pieces.collect();
        let mut state = 1u64;
        (0..20_000).map(move |i| {
            let mut text = String::new();
            for _ in 0..i % 12 {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                text.push_str(pieces[(state >> 33) as usize % pieces.len()]);
            }
            text
        })
    }

    #[test]
    fn the_same_words_as_the_crates_pre_tokenizer() {
        for json in [
            byte_level(true),
            byte_level(false),
            sequence(digits(true), true),
            sequence(digits(false), true),
            sequence(split(QWEN), false),
            sequence(split(QWEN), true),
        ] {
            let theirs: PreTokenizerWrapper = serde_json::from_value(json.clone()).unwrap();
            let ours = Words::from_json(&json).unwrap();
            for text in texts() {
                let mut expected = PreTokenizedString::from(text.as_str());
                theirs.pre_tokenize(&mut expected).unwrap();
                let expected = expected.get_splits(OffsetReferential::Normalized, OffsetType::None);
                let mut words = Vec::new();
                ours.each(&text, &mut |word| {
                    words.push(word.to_string());
                    Ok(())
                })
                .unwrap();
                assert_eq!(words, expected.iter().map(|(word, _, _)| *word).collect::<Vec<_>>(), "{json} {text:?}");
            }
        }
    }

    #[test]
    fn other_kinds_are_left_to_the_crate() {
        let prefixed = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
        for json in [
            prefixed,
            digits(true),
            sequence(split(r"(?<=a)b|\s+(?!\S)|\s+"), false),
            sequence(split("x"), false),
            sequence(split(r"\b|\s+(?!\S)|\s+"), false),
            json!({"type": "Metaspace"}),
            Value::Null,
        ] {
            assert!(Words::from_json(&json).is_none(), "{json}");
        }
    }
}
