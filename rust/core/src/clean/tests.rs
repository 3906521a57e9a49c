//! What cleaning does and what it never does.

use proptest::prelude::*;

use super::{CleanOptions, clean_text};

fn clean(text: &str) -> String {
    clean_text(text, &CleanOptions::default()).expect("default options are valid").into_owned()
}

#[track_caller]
fn assert_cleans(pairs: &[(&str, &str)]) {
    for (dirty, wanted) in pairs {
        assert_eq!(clean(dirty), *wanted, "from {dirty:?}");
        assert_eq!(clean(wanted), *wanted, "clean text is left alone");
    }
}

#[test]
fn control_characters_go_and_encodings_are_repaired() {
    assert_cleans(&[
        ("第一行\r\n第二行\r第三行", "第一行\n第二行\n第三行"),
        ("零\u{200B}宽\u{FEFF}字\u{0}符\u{7}", "零宽字符"),
        ("ä½\u{A0}å¥½ï¼Œä¸–ç•Œ", "你好，世界"),
        ("⽤⼿ 𠮷", "用手𠮷"),
        ("café à la carte, naïve", "café à la carte, naïve"),
        ("👨\u{200D}👩\u{200D}👧 ❤\u{FE0F}", "👨\u{200D}👩\u{200D}👧 ❤\u{FE0F}"),
    ]);
}

#[test]
fn templates_go() {
    assert_cleans(&[
        ("\n\n### Response:\n\n\n### Response:\n感染乙肝后。", "感染乙肝后。"),
        ("### Instruction: 介绍北京", "介绍北京"),
        ("给出建议。\n<noinput>", "给出建议。"),
        ("给出建议。\nnoinput", "给出建议。"),
        ("给出建议。&lt;noinput&gt;", "给出建议。<noinput>"),
        ("答案是四。</s>", "答案是四。"),
        ("答案是四。<|im_end|>\n[EOS]", "答案是四。"),
        ("<s>Human: 你好\n</s><s>Assistant: 你好</s>", "Human: 你好\nAssistant: 你好"),
        ("概率 P(I|<s>)=0.67", "概率 P(I|<s>)=0.67"),
        ("句子以“</s>”结束。", "句子以“</s>”结束。"),
        ("# 标题\n## 小节\n### 要点\n正文", "# 标题\n## 小节\n### 要点\n正文"),
    ]);
}

#[test]
fn html_goes_but_only_html() {
    assert_cleans(&[
        ("<p>第一段。</p><p>第二段，<b>粗</b>体。</p>", "第一段。\n第二段，粗体。"),
        ("一<br>二<br/>三", "一\n二\n三"),
        ("<a href=\"http://a.com/x?y=1\">链接</a>在此", "链接在此"),
        ("&ldquo;你好&rdquo;&nbsp;&amp;&#12290;", "“你好” &。"),
        ("a < b 且 c > d", "a < b 且 c > d"),
        ("Vec<u8> 和 map<string, int>", "Vec<u8> 和 map<string, int>"),
        ("若 a<b，则 b>a", "若 a<b，则 b>a"),
        ("使用 <b> 标签加粗", "使用 <b> 标签加粗"),
        ("使用<b>标签加粗", "使用<b>标签加粗"),
        ("<b>元素周期表</b>", "元素周期表"),
        ("<html>\n<body>\n<p>页面</p>\n</body>\n</html>", "<html>\n<body>\n<p>页面</p>\n</body>\n</html>"),
        ("`<b>x</b>` 是粗体", "`<b>x</b>` 是粗体"),
        ("<https://example.com/a>", "<https://example.com/a>"),
        ("AT&T; R&D", "AT&T; R&D"),
    ]);
    let pages = CleanOptions { pages: true, ..Default::default() };
    let page = "<!DOCTYPE html>\n<html><head><title>题</title><style>p {}</style></head><body><p>文&amp;字</p></body></html>";
    assert_eq!(clean_text(page, &pages).expect("valid options"), "题\n文&字");
}

#[test]
fn widths_are_folded() {
    assert_cleans(&[
        ("ＡＢＣ１２３ｘｙｚ，％", "ABC123xyz，%"),
        ("３．１４和１，０００", "3.14和1，000"),
        ("　　段首缩进。\n　　又一段。", "段首缩进。\n又一段。"),
        ("ﾊﾟ｡｢好｣", "ﾊﾟ。「好」"),
    ]);
}

#[test]
fn punctuation_beside_chinese_becomes_chinese() {
    assert_cleans(&[
        ("你好,世界!", "你好，世界！"),
        ("你好, world", "你好，world"),
        ("真的吗?是的;对:", "真的吗？是的；对："),
        ("今天很好.", "今天很好。"),
        ("今天天气很好.我们去公园.", "今天天气很好。我们去公园。"),
        ("北京(首都)很大", "北京（首都）很大"),
        ("中国(China)", "中国（China）"),
        ("他说\"你好\"。", "他说“你好”。"),
        ("使用Python,然后运行", "使用Python，然后运行"),
        ("你好 , 世界 !", "你好，世界！"),
        ("天啊!!!", "天啊！"),
        ("姓名: 张三", "姓名：张三"),
    ]);
}

#[test]
fn punctuation_elsewhere_stays() {
    let same = [
        "圆周率约为3.14，人口1,400,000,000。",
        "时间是10:30:05，比分3:2。",
        "见 https://example.com/a,b?x=1&y=2 。",
        "见https://zh.wikipedia.org/wiki/数学?x=1,y=2吧",
        "写信到 a.b@example.com，谢谢",
        "I love you, and you? Yes! (really) 你好",
        "The word 你好 means hello, doesn't it?",
        "`print(\"你好,世界\")` 打印",
        "```python\nprint('你好,世界!')  # 注释,保留\n```",
        "def f(x):\n    # 计算,然后返回\n    return x  # 结果,整数",
        "print(\"你好,世界!\")",
        "{\"姓名\": \"张三\", \"年龄\": 3}",
        "[数学](https://a.com/数学,物理)",
        "约翰.史密斯是谁？",
        "文件a.txt和b.py",
        "std::vector是容器",
        "一. 简介\n二. 方法",
        "计算(1+2)*3等于几？",
        "f(x)的值",
        "水的沸点为100°C (212°F)。",
        "中 = (低 + 高) // 2",
        "当前.下一个=上一个",
        "3.我们\n4.你们",
    ];
    for text in same {
        let cleaned = clean(text);
        assert_eq!(cleaned.replace("URL。", "URL"), text, "{text}");
    }
}

#[test]
fn repeated_marks_become_one() {
    assert_cleans(&[
        ("好！！！！", "好！"),
        ("什么？？？", "什么？"),
        ("真的？！？！", "真的？！"),
        ("嗯。。。。好", "嗯……好"),
        ("等等……然后——继续", "等等……然后——继续"),
        ("等等…………", "等等……"),
        ("wait... what?!", "wait... what?!"),
        ("Wow!!!", "Wow!"),
        (".... . .-.. .-.. ---", ".... . .-.. .-.. ---"),
        ("好的......", "好的……"),
        ("!!! note\n    注意\n???+ tip", "!!! note\n    注意\n???+ tip"),
        ("a != b && !!c", "a != b && !!c"),
        ("---\n===\n***", "---\n===\n***"),
    ]);
}

#[test]
fn spaces_go_only_between_chinese_characters() {
    assert_cleans(&[
        ("今 天 天 气 很 好", "今天天气很好"),
        ("你好  世界", "你好世界"),
        ("使用 Python 编程", "使用 Python 编程"),
        ("I love  you", "I love  you"),
        ("- 甲\n  - 乙\n\n\n正文", "- 甲\n  - 乙\n\n\n正文"),
        ("姓名  年龄\n张三  二十\n李 四  三十", "姓名  年龄\n张三  二十\n李 四  三十"),
        ("| 姓名 | 年龄 |\n| --- | --- |\n| 张三 | 20 |", "| 姓名 | 年龄 |\n| --- | --- |\n| 张三 | 20 |"),
        ("\n \n  你好  \n世界 \n\n", "你好\n世界"),
        ("    indented code", "    indented code"),
    ]);
}

#[test]
fn a_rule_that_is_off_changes_nothing() {
    let text = "\r\n### Response:\n<p>Ａ,好！！ 好</p>";
    let off = CleanOptions {
        control: false,
        templates: false,
        html: false,
        width: false,
        punctuation: false,
        repeats: false,
        spaces: false,
        ..Default::default()
    };
    assert_eq!(clean_text(text, &off).expect("valid options"), text);
}

#[test]
fn made_up_text_ends_in_bounded_time() {
    let pieces = [
        "&amp;", "amp;", "<b", "<!--", "](", "http://a", "://", "`", "``", "([", "。", "汉.", "\"汉", " 汉",
        "\r", "#38;", "<b>b>", ")",
    ];
    for piece in pieces {
        let text = format!("&<`{}", piece.repeat(300_000 / piece.len()));
        let once = clean(&text);
        assert_eq!(clean(&once), once, "{piece}");
    }
}

/// Pieces that rules look for, mixed at random.
fn dirty_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[天气很好我们去公园玩吧]{1,6}",
        2 => "[a-zA-Z]{1,6}",
        2 => "[0-9]{1,4}",
        3 => "[,.!?:;()\"'，。！？：；、（）“”…—·～~]{1,5}",
        2 => "[ \t\n\u{3000}\u{A0}]{1,3}",
        2 => prop::sample::select(vec![
            "<p>", "</p>", "<br>", "<b>", "</b>", "<div class=\"x\">", "</div>", "&lt;", "&gt;", "&amp;", "&nbsp;", "&#65;",
            "&quot;", "<!--", "-->", "<html>", "### Response:", "<noinput>", "noinput", "</s>", "<s>", "<|end|>", "[EOS]",
            "`", "```", "~~~", "http://a.com/x", "www.b.cn", "a@b.cn", "](c.md)", "[", "def f(x):", "x = 1;", "# ", "// ",
            "\r\n", "\r", "\u{200B}", "\u{FEFF}", "\u{FFFD}", "\u{E000}", "ä½", "å¥½", "⽤", "１", "Ｂ", "．", "｡", "|", "- ",
        ]).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn cleaning_twice_is_cleaning_once(text in dirty_text()) {
        let once = clean(&text);
        prop_assert_eq!(clean(&once), once);
    }

    #[test]
    fn whatever_is_off_cleaning_ends_and_repeats_itself(text in dirty_text(), on in prop::array::uniform8(any::<bool>())) {
        let [control, templates, html, pages, width, punctuation, repeats, spaces] = on;
        let options = CleanOptions { control, templates, html, pages, width, punctuation, repeats, spaces, ..Default::default() };
        let once = clean_text(&text, &options).expect("valid options").into_owned();
        prop_assert_eq!(clean_text(&once, &options).expect("valid options"), once.as_str());
    }

    #[test]
    fn words_numbers_and_line_ends_survive(
        parts in prop::collection::vec(
            ("[天气好]{1,3}|[a-zA-Z]{1,8}|[0-9]{1,3}([.,:][0-9]{2,3})?|https://a\\.com/[a-z]{1,4}\\?x=[0-9]", "[ ,.!?;:，。！？]|, |\n|\n\n"),
            1..12,
        )
    ) {
        let text: String = parts.iter().map(|(word, mark)| format!("{word}{mark}")).collect();
        let cleaned = clean(&text);
        let kept = |text: &str| -> Vec<String> {
            text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_owned).collect()
        };
        prop_assert_eq!(kept(&cleaned), kept(&text));
        prop_assert_eq!(cleaned.matches('\n').count(), text.trim().matches('\n').count());
        for (word, _) in parts.iter().filter(|(word, _)| word.is_ascii()) {
            prop_assert!(cleaned.contains(word.as_str()), "{} lost {}", cleaned, word);
        }
    }

    #[test]
    fn clean_text_is_left_as_it_is(
        sentences in prop::collection::vec(
            "[天气很好我们]{2,8}(，[天气很好我们]{2,8}|（[A-Z]{2,5}）|[0-9]{1,3}(\\.[0-9])?[个元]){0,3}[。！？]\n{0,2}", 1..6,
        ),
        english in "([A-Z][a-z]{1,7}( [a-z]{2,8}){1,5}[.!?])?",
    ) {
        let text = format!("{}{english}", sentences.concat());
        let text = text.trim_end();
        prop_assert_eq!(clean(text), text);
    }

    #[test]
    fn code_blocks_and_addresses_are_kept_to_the_byte(
        code in "[a-z天,.!?() =\t#\"\n]{0,40}", before in dirty_text(), url in "https?://[a-z]{1,6}\\.(com|cn)/[a-z0-9,;!._-]{0,8}[a-z0-9]",
    ) {
        let before: String = before.chars().filter(|c| !"`~<&[\u{FF5E}".contains(*c)).collect();
        let fence = format!("```py\n{code}\n```");
        let cleaned = clean(&format!("{before}\n{fence}\n见 {url} 吧,好"));
        prop_assert!(cleaned.contains(&fence), "{:?}", cleaned);
        prop_assert!(cleaned.contains(&url), "{:?}", cleaned);
    }
}

#[test]
fn personal_data_are_masked_if_asked_for() {
    let options = CleanOptions { personal: true, ..CleanOptions::default() };
    let clean = |text| clean_text(text, &options).expect("in range").into_owned();
    assert_eq!(
        clean("电话13812345678，证件11010519491231002X，邮箱a.b@example.com。"),
        "电话【手机号】，证件【身份证号】，邮箱【邮箱】。"
    );
    // Another check character, a longer number, a part of a word, a decorator.
    for text in ["证件110105194912310021。", "单号138123456789。", "型号x13812345678", "@property 和 a@b"]
    {
        assert_eq!(clean(text), text);
    }
    assert_eq!(clean_text("电话13812345678", &CleanOptions::default()).expect("in range"), "电话13812345678");
}

#[test]
fn traditional_characters_are_simplified_if_asked_for_but_not_in_code() {
    let options = CleanOptions { simplified: true, ..CleanOptions::default() };
    let clean = |text| clean_text(text, &options).expect("in range").into_owned();
    assert_eq!(clean("乾隆皇帝說頭髮乾了"), "乾隆皇帝说头发干了");
    assert_eq!(clean("看 `說` 這個字"), "看 `說` 这个字");
    assert_eq!(clean("简体字不变"), "简体字不变");
}
