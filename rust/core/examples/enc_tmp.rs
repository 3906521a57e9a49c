use std::time::Instant;
fn main() {
    let e = smolchat_core::tokenizer::Encoder::load(std::path::Path::new("/tmp/w/bpe.json")).unwrap();
    let text = std::fs::read_to_string("/tmp/w/50.txt").unwrap();
    let lines: Vec<&str> = text.split('\x01').collect();
    let lines = &lines[..lines.len() / 4];
    let bytes: usize = lines.iter().map(|l| l.len()).sum();
    for _ in 0..2 {
        let t = Instant::now();
        let n: usize = lines.iter().map(|l| e.encode(l, 100000).unwrap().len()).sum();
        println!("one thread {n} {:.1} MB/s", bytes as f64 / t.elapsed().as_secs_f64() / 1e6);
    }
    let t = Instant::now();
    let n = e.encode_batch(lines, 512).unwrap().len();
    println!("batch {n} {:.1} MB/s", bytes as f64 / t.elapsed().as_secs_f64() / 1e6);
}
