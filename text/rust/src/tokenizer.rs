//! A Hugging Face tokenizer.json.

use std::sync::Arc;

use serde_json::Value;
use tokenizers::{DecoderWrapper, PostProcessorWrapper, PreTokenizerWrapper, TokenizerImpl};

use crate::error::{Error, Result};
use crate::user_text::{Guarded, SpecialTokens, Unmark};
use crate::vocabulary::{Decoding, Listed, Vocabulary};

type Inner = TokenizerImpl<Guarded, Unmark, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

/// Immutable: may be shared by threads.
pub struct Tokenizer {
    inner: Inner,
    special_tokens: SpecialTokens,
    vocabulary: Arc<Vocabulary>,
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
        let mut reserved = vec![false; vocabulary.size() as usize];
        for (id, token) in added {
            reserved[*id as usize] = token.special && token.content.chars().count() > 1;
        }
        inner.get_model().reserve(reserved);
        Ok(Tokenizer { inner, special_tokens, vocabulary: Arc::new(vocabulary) })
    }

    /// Special tokens in `text` are ordinary characters. The post-processor's own are added if asked for.
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>> {
        self.encode_marked(&self.special_tokens.neutralize(text), add_special_tokens)
    }

    /// Special tokens in `text` are obeyed, save those that carry a marker.
    pub fn encode_marked(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, add_special_tokens);
        Ok(encoding.map_err(|e| Error::invalid(format!("text: {e}")))?.get_ids().to_vec())
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
