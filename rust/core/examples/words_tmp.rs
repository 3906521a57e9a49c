use smolchat_core::{job::Job, words::*};
use std::time::Instant;
fn main() {
    let t = Instant::now();
    let s = Segmenter::built_in().unwrap();
    println!("load {:?}", t.elapsed());
    let text = std::fs::read_to_string(std::env::args().nth(1).unwrap()).unwrap();
    let lines: Vec<&str> = text.split('\x01').collect();
    for hmm in [true, false] {
        let t = Instant::now();
        let n: usize = lines.iter().map(|l| s.cut(l, hmm).len()).sum();
        let d = t.elapsed().as_secs_f64();
        println!("cut hmm={hmm} {n} words {:.1} MB/s", text.len() as f64 / d / 1e6);
        for threads in [1, 2] {
            let t = Instant::now();
            let c = count_words(&lines, &WordOptions { hmm, ..Default::default() }, &Job::new(Some(threads)).unwrap()).unwrap();
            let d = t.elapsed().as_secs_f64();
            println!("count hmm={hmm} threads={threads} {} distinct {:.1} MB/s", c.len(), text.len() as f64 / d / 1e6);
        }
    }
}
