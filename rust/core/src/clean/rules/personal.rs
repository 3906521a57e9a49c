use std::ops::Range;

use memchr::memchr_iter;

use crate::clean::edit::{Edit, after, before};
use crate::clean::spans::Spans;

const MOBILE: &str = "【手机号】";
const ID_CARD: &str = "【身份证号】";
const EMAIL: &str = "【邮箱】";
/// Weights and check characters of a resident identity number (GB 11643-1999).
const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
const CHECKS: &[u8; 11] = b"10X98765432";

/// Masks mobile numbers, identity numbers whose check character is right, and e-mail addresses.
///
/// Also in code and addresses: whoever switches this on wants none of them to stay.
pub fn personal(text: &str, _: &Spans) -> Option<String> {
    let mut found: Vec<(Range<usize>, &str)> = emails(text).map(|range| (range, EMAIL)).collect();
    found.extend(numbers(text).filter_map(|range| {
        let number = &text.as_bytes()[range.clone()];
        let mask = match number {
            _ if is_mobile(number) => MOBILE,
            _ if is_id_card(number) => ID_CARD,
            _ => return None,
        };
        Some((range, mask))
    }));
    found.sort_unstable_by_key(|(range, _)| range.start);
    let mut edit = Edit::new(text);
    found.into_iter().for_each(|(range, mask)| edit.replace(range, mask));
    edit.finish()
}

/// Runs of digits and of an X behind them that no letter touches.
fn numbers(text: &str) -> impl Iterator<Item = Range<usize>> {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + bytes[at..].iter().position(u8::is_ascii_digit)?;
        let digits = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        at = start + digits;
        let end = at + usize::from(digits == 17 && matches!(bytes.get(at), Some(b'X' | b'x')));
        at = end;
        Some(start..end)
    })
    .filter(move |range| {
        let touches = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
        !touches(before(text, range.start)) && !touches(after(text, range.end))
    })
}

fn is_mobile(number: &[u8]) -> bool {
    matches!(number, [b'1', b'3'..=b'9', ..]) && number.len() == 11
}

fn is_id_card(number: &[u8]) -> bool {
    let Some((&check, digits)) = number.split_last().filter(|_| number.len() == 18) else { return false };
    let sum: u32 =
        digits.iter().zip(WEIGHTS).map(|(digit, weight)| u32::from(digit.wrapping_sub(b'0')) * weight).sum();
    CHECKS[(sum % 11) as usize] == check.to_ascii_uppercase()
}

/// `name@host.domain`.
fn emails(text: &str) -> impl Iterator<Item = Range<usize>> {
    let bytes = text.as_bytes();
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"._%+-".contains(byte);
    let is_host = |byte: &u8| byte.is_ascii_alphanumeric() || b".-".contains(byte);
    memchr_iter(b'@', bytes).filter_map(move |at| {
        let start = at - bytes[..at].iter().rev().take_while(|byte| is_name(byte)).count();
        let host = bytes[at + 1..].iter().take_while(|byte| is_host(byte)).count();
        let host = text[at + 1..at + 1 + host].trim_end_matches(['.', '-']);
        let (name, domain) = host.rsplit_once('.')?;
        let whole = !name.is_empty() && domain.len() >= 2 && domain.bytes().all(|b| b.is_ascii_alphabetic());
        (start < at && whole).then(|| start..at + 1 + host.len())
    })
}
