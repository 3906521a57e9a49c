//! What others rely on: ids that do not move, and an encoder that agrees with the file it reads.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use proptest::prelude::*;
use smolchat_core::Error;
use smolchat_core::job::Job;
use smolchat_core::tokenizer::{Encoder, Kind, SPECIALS, TokenizerOptions, build_from_texts};
use tempfile::TempDir;
use tokenizers::Tokenizer;

const TEXTS: [&str; 4] =
    ["今天天气很好，今天去北京大学。", "北京大学在北京。", "今天北京下雨！", "AI model, AI models 2024"];

fn build(kind: Kind) -> String {
    let options = TokenizerOptions { kind, vocab_size: 320, coverage: 1.0, ..TokenizerOptions::default() };
    build_from_texts(&TEXTS, &options, &Job::new(Some(2)).expect("threads")).expect("builds").json
}

fn folder_with(json: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("temp folder");
    let path = folder.path().join("tokenizer.json");
    fs::write(&path, json).expect("writes");
    (folder, path)
}

#[test]
fn special_and_byte_tokens_have_fixed_ids() {
    for kind in [Kind::Merges, Kind::Bpe, Kind::Unigram] {
        let tokenizer: Tokenizer = build(kind).parse().expect("loads");
        for (id, token) in SPECIALS.iter().zip(0u32..) {
            assert_eq!(tokenizer.token_to_id(id), Some(token));
        }
        for byte in 0..=255u32 {
            assert_eq!(tokenizer.id_to_token(7 + byte), Some(format!("<0x{byte:02X}>")));
        }
    }
}

#[test]
fn the_same_texts_give_the_same_ids() {
    let (_folder, path) = folder_with(&build(Kind::Bpe));
    let encoder = Encoder::load(&path).expect("loads");
    assert_eq!(encoder.encode("今天北京大学下雪。", 100).expect("encodes"), GOLDEN);
    assert_eq!((encoder.pad_id(), encoder.eos_id()), (0, 1));
}

/// `今天`, `北京大学`, `下`, the bytes of `雪`, `。`, the end.
const GOLDEN: [u32; 8] = [293, 299, 279, 240, 162, 177, 268, 1];

/// Each kind, in both libraries.
static BUILT: LazyLock<Vec<(Encoder, Tokenizer)>> = LazyLock::new(|| {
    let load = |kind| {
        let json = build(kind);
        let (folder, _) = folder_with(&json);
        (Encoder::load(folder.path()).expect("loads"), json.parse().expect("loads"))
    };
    [Kind::Merges, Kind::Bpe, Kind::Unigram].into_iter().map(load).collect()
});

proptest! {
    #[test]
    fn any_text_comes_back_from_its_ids(text in "([今天北京。 \r\n\t]|\\[EOS\\]|<0x41>|\\PC|.){0,40}") {
        for (encoder, tokenizer) in BUILT.iter() {
            let ids = encoder.encode(&text, usize::MAX).expect("encodes");
            prop_assert_eq!(ids.iter().position(|&id| id < SPECIALS.len() as u32), Some(ids.len() - 1));
            prop_assert_eq!(tokenizer.decode(&ids, true).expect("decodes"), text.clone());
        }
    }

    #[test]
    fn a_cut_keeps_the_beginning_and_the_end_token(max_tokens in 1usize..20) {
        let encoder = &BUILT[1].0;
        let whole = encoder.encode(TEXTS[0], usize::MAX).expect("encodes");
        let cut = encoder.encode_batch(&TEXTS, max_tokens).expect("encodes").remove(0);
        prop_assert!(cut.len() <= max_tokens);
        prop_assert_eq!(&cut[..cut.len() - 1], &whole[..cut.len() - 1]);
        prop_assert_eq!(cut.last(), Some(&encoder.eos_id()));
    }
}

#[test]
fn a_file_that_is_no_tokenizer_is_named() {
    let (_folder, path) = folder_with("{}");
    let refused = Encoder::load(&path).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(refused.contains("tokenizer.json: not a tokenizer"), "{refused}");
    assert!(matches!(Encoder::load(&path.join("gone")), Err(Error::Io { .. })));
    let (folder, path) = folder_with(&build(Kind::Bpe));
    fs::write(path.with_file_name("tokenizer_config.json"), r#"{"eos_token": "</s>"}"#).expect("writes");
    let refused = Encoder::load(folder.path()).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(refused.contains("has no token </s>"), "{refused}");
}
