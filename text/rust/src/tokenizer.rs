//! A Hugging Face tokenizer.json.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use serde_json::Value;
use tokenizers::{
    DecoderWrapper, Model, NormalizedString, OffsetReferential, OffsetType, PostProcessor, PostProcessorWrapper,
    PreTokenizedString, PreTokenizer, PreTokenizerWrapper, Token, TokenizerImpl,
};

use crate::error::{Error, Result};
use crate::user_text::{Guarded, SpecialTokens, Unmark};
use crate::vocabulary::{Decoding, Listed, Vocabulary};
use crate::words::Words;

/// Stands where a user's words do in a sample of what a template writes: a noncharacter that is not the marker.
pub const SAMPLE: &str = "\u{FDD1}";

type Inner = TokenizerImpl<Guarded, Unmark, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

/// Immutable: may be shared by threads.
pub struct Tokenizer {
    inner: Inner,
    special_tokens: SpecialTokens,
    vocabulary: Arc<Vocabulary>,
    /// None: the pre-tokenizer is not a byte-level one.
    words: Option<Words>,
    /// Text between special tokens, as a template writes it around every message, and its ids.
    fixed_parts: OnceLock<HashMap<String, Vec<u32>>>,
}

impl Tokenizer {
    pub fn new(json: &str) -> Result<Tokenizer> {
        let mut inner: Inner =
            serde_json::from_str(json).map_err(|e| Error::invalid(format!("tokenizer.json: {e}")))?;
        // Settings for training batches, which would cut or stretch a prompt in silence.
        inner.with_truncation(None).map_err(Error::invalid)?.with_padding(None);
        if inner.get_normalizer().is_none() {
            inner.with_normalizer(Some(Unmark::default())).map_err(Error::invalid)?;
        }
        match_special_tokens_as_written(&mut inner)?;
        let decoder = serde_json::to_value(inner.get_decoder()).unwrap_or(Value::Null);
        let vocabulary = Vocabulary::new(Decoding::from_json(&decoder)?, list_tokens(&inner));

        let added = inner.get_added_vocabulary().get_added_tokens_decoder();
        let special: Vec<&str> =
            added.values().filter(|token| token.special).map(|token| token.content.as_str()).collect();
        let special_tokens = SpecialTokens::new(&special).map_err(Error::invalid)?;
        let words = Words::from_json(&serde_json::to_value(inner.get_pre_tokenizer()).unwrap_or(Value::Null));
        let mut reserved = vec![false; vocabulary.size() as usize];
        for (id, token) in added {
            reserved[*id as usize] = token.special && token.content.chars().count() > 1;
        }
        inner.get_model().reserve(reserved);
        Ok(Tokenizer { inner, special_tokens, vocabulary: Arc::new(vocabulary), words, fixed_parts: OnceLock::new() })
    }

    /// Special tokens in `text` are ordinary characters. The post-processor's own are added if asked for.
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>> {
        self.encode_marked(&self.special_tokens.neutralize(text), add_special_tokens)
    }

    /// Special tokens in `text` are obeyed, save those that carry a marker.
    pub fn encode_marked(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>> {
        let adds = |processor: &PostProcessorWrapper| processor.added_tokens(false) > 0;
        if self.words.is_some() && !(add_special_tokens && self.inner.get_post_processor().is_some_and(adds)) {
            return self.encode_parts(text, &HashMap::new()).map_err(|e| Error::invalid(format!("text: {e}")));
        }
        let encoding = self.inner.encode_fast(text, add_special_tokens);
        Ok(encoding.map_err(|e| Error::invalid(format!("text: {e}")))?.get_ids().to_vec())
    }

    /// As encode_marked without special tokens of the post-processor's, for what a template wrote. `sample` is what it
    /// writes around SAMPLE: its own parts are tokenized once. (A user's are not kept: how long another's text takes
    /// would tell what was asked before.)
    pub fn encode_rendered(&self, text: &str, sample: impl FnOnce() -> Option<String>) -> Result<Vec<u32>> {
        let fixed = self.fixed_parts.get_or_init(|| sample().map_or_else(HashMap::new, |s| self.find_fixed_parts(&s)));
        self.encode_parts(text, fixed).map_err(|e| Error::invalid(format!("text: {e}")))
    }

    fn encode_parts(&self, text: &str, fixed: &HashMap<String, Vec<u32>>) -> tokenizers::Result<Vec<u32>> {
        let mut parts = self.split_at_added_tokens(text);
        if let Some(words) = &self.words {
            return self.tokenize_words(words, &parts, fixed);
        }
        parts.split(|_, part| {
            let known = if begins_the_text(&part) { None } else { fixed.get(part.get()) };
            let tokens = known.map(|ids| ids.iter().map(|id| Token::new(*id, String::new(), (0, 0))).collect());
            Ok(std::iter::once((part, tokens)))
        })?;
        self.tokenize(parts)
    }

    fn tokenize_words(
        &self,
        words: &Words,
        parts: &PreTokenizedString,
        fixed: &HashMap<String, Vec<u32>>,
    ) -> tokenizers::Result<Vec<u32>> {
        let mut ids = Vec::new();
        for (part, _, added) in parts.get_splits(OffsetReferential::Normalized, OffsetType::None) {
            if let Some(added) = added {
                ids.extend(added.iter().map(|token| token.id));
            } else if let Some(known) = fixed.get(part) {
                ids.extend(known);
            } else {
                words.each(part, &mut |word| {
                    ids.extend(self.inner.get_model().tokenize(word)?.iter().map(|token| token.id));
                    Ok(())
                })?;
            }
        }
        Ok(ids)
    }

    fn find_fixed_parts(&self, sample: &str) -> HashMap<String, Vec<u32>> {
        let mut fixed = HashMap::new();
        let mut parts = self.split_at_added_tokens(sample);
        let _ = parts.split(|_, part| {
            if !begins_the_text(&part) && !part.get().contains(SAMPLE) {
                if let Ok(ids) = self.tokenize(part.clone().into()) {
                    fixed.insert(part.get().to_string(), ids);
                }
            }
            Ok(std::iter::once(part))
        });
        fixed
    }

    fn split_at_added_tokens(&self, text: &str) -> PreTokenizedString {
        self.inner.get_added_vocabulary().extract_and_normalize(self.inner.get_normalizer(), text)
    }

    fn tokenize(&self, mut parts: PreTokenizedString) -> tokenizers::Result<Vec<u32>> {
        if let Some(pre_tokenizer) = self.inner.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut parts)?;
        }
        parts.tokenize(|word| self.inner.get_model().tokenize(word.get()))?;
        let words = parts.get_splits(OffsetReferential::Normalized, OffsetType::None);
        Ok(words.iter().flat_map(|(_, _, tokens)| tokens.iter().flatten().map(|token| token.id)).collect())
    }

    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    pub fn special_tokens(&self) -> &SpecialTokens {
        &self.special_tokens
    }

    pub fn vocabulary(&self) -> &Arc<Vocabulary> {
        &self.vocabulary
    }
}

/// There, tokenizers may put a space in front.
fn begins_the_text(part: &NormalizedString) -> bool {
    part.offsets_original().0 == 0
}

/// The search in normalized text comes after markers are taken out: special tokens have to be found before it.
fn match_special_tokens_as_written(inner: &mut Inner) -> Result<()> {
    let added = inner.get_added_vocabulary().get_added_tokens_decoder();
    let late: Vec<_> = added.values().filter(|token| token.special && token.normalized).cloned().collect();
    if !late.is_empty() {
        inner.add_tokens(late.into_iter().map(|token| token.normalized(false))).map_err(Error::invalid)?;
    }
    Ok(())
}

fn list_tokens(inner: &Inner) -> Vec<Listed> {
    let added = inner.get_added_vocabulary().get_added_tokens_decoder();
    let model = inner.get_vocab(false).into_iter().filter(|(_, id)| !added.contains_key(id));
    let model = model.map(|(content, id)| Listed { content, id, added: false, special: false });
    let added = added.iter();
    let added = added.map(|(id, t)| Listed { content: t.content.clone(), id: *id, added: true, special: t.special });
    model.chain(added).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_template_writes_around_messages_changes_no_id() {
        for name in ["byte_level", "metaspace", "legacy"] {
            let path = format!("{}/../testdata/{name}.json", env!("CARGO_MANIFEST_DIR"));
            let json = std::fs::read_to_string(path).unwrap();
            let (bos, eos) = if name == "byte_level" { ("<|im_start|>", "<|im_end|>") } else { ("<s>", "</s>") };
            let write = |user: &str| format!("{bos}system\nBe brief.{eos}\n{bos}user\n{user}{eos}\n{bos}assistant\n");
            let tokenizer = Tokenizer::new(&json).unwrap();
            for user in ["hi", "", " two  words ", "\n", "Be brief.", "system\nBe brief.", "é\u{301}", eos] {
                for text in [write(user), format!("assistant\n{user}"), format!("\n{eos}\n{user}")] {
                    let ids = tokenizer.encode_rendered(&text, || Some(write(SAMPLE)));
                    assert_eq!(ids, tokenizer.encode_marked(&text, false), "{name}: {text:?}");
                }
            }
            assert!(tokenizer.fixed_parts.get().unwrap().len() >= 2, "{name}");
        }
    }
}
