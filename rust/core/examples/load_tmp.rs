use smolchat_core::words::*;
fn main() { let s = Segmenter::built_in().unwrap(); println!("{}", s.cut("你好", true).len()); }
