//! Words with the frequencies of a natural language.

use fastrand::Rng;

/// Words in all; the real ones first, then composed ones.
const SIZE: usize = 30_000;

/// The most common characters of written Chinese, about in order of frequency.
const CHARACTERS: &str = "的一是不了在人有我他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可她里后小么心多天而能好都然没日于起还发成事只作当想看文无开手十用主行方又如前所本见经头面公同三已老从动两长知民样现分将外但身些与高意进把法此实回二理美点月明其种声全工己话儿者向情部正名定女问力机给等几很业最间新什打便位因重被走电四第门相次东政海口使教西再平真听世气信北少关并内加化由却代军产入先山五太水万市眼体别处总才场师书比住员九笑性通目华报立马命张活难神数件安表原车白应路期叫死常提感金何更反合放做系计或司利受光王果亲界及今京务制解各任至清物台象记边共风战干接它许八特觉望直服毛林题建南度统色字请交爱让认算论百吃义科怎元社术结六功指思非流每青管夫连远资队跟带花快条院变联言权往展该领传近留红治决周保达办运武半候七必城父强步完革深区即求品士转量空甚众技轻程告江语英基派满式李息写呢识极令黄德收脸钱党倒未持取设始版双历越史商千片容研像找友孩站广改议形委早房音火际则首单据导影失拿网香似斯专石若兵弟谁校读志飞观争究包组造落视济喜离虽坏兴切红准病集病根细";

/// Common words; a segmenter knows them all.
const WORDS: &str = "的 是 在 了 和 有 不 我 你 他 这 就 也 都 要 会 对 到 说 我们 可以 一个 没有 自己 他们 什么 这个 因为 所以 如果 但是 问题 时候 知道 现在 需要 进行 通过 使用 可能 工作 中国 公司 社会 发展 经济 技术 信息 生活 学习 方法 研究 系统 管理 服务 影响 提供 重要 不同 时间 情况 人们 这些 那么 以及 其中 或者 同时 根据 建议 能够 包括 健康 医生 治疗 症状 患者 检查 药物 身体 饮食 注意 法律 规定 合同 责任 权利 法院 案件 当事人 学生 老师 学校 教育 考试 数学 历史 文化 世界 国家 城市 北京 上海 政府 人民 经济学 市场 企业 产品 价格 投资 银行 股票 基金 保险 电影 音乐 故事 小说 作者 诗人 朋友 父母 孩子 家庭 关系 感情 心理 压力 焦虑 快乐 幸福 天气 环境 自然 动物 植物 水果 蔬菜 计算机 程序 数据 软件 网络 手机 电脑 代码 函数 算法 模型 人工智能 机器学习 语言 汉字 英语 翻译 句子 文章 写作 描述 解释 分析 总结 比较 特点 优点 缺点 原因 结果 过程 步骤 目标 计划 提高 减少 增加 保持 选择 决定 认为 觉得 希望 喜欢 帮助 支持 理解 感谢 开始 结束 继续 完成 实现 解决 处理 改变 创造 设计 开发 测试 应用 非常 比较 一些 许多 很多 每天 今天 明天 昨天 最后 首先 其次 然后 另外 总之 例如 比如 关于 由于 虽然 然而 不过 而且 并且 甚至 只有 除了 之间 之后 以前 一般 通常 经常 总是 有时 特别 尤其 主要 基本 具体 实际 真正 完全 直接 简单 复杂 困难 容易 安全 有效 合理 正确 错误 不仅 一定 应该 必须 已经 正在 还是 就是 不是 只是 这样 那样 怎么 如何 为什么 多少 哪里";

/// Words, and how often each is drawn.
pub struct Vocabulary {
    words: Vec<String>,
    /// Sum of the weights of all words up to each one.
    cumulated: Vec<f64>,
}

impl Vocabulary {
    pub fn new(rng: &mut Rng) -> Self {
        let characters: Vec<char> = CHARACTERS.chars().collect();
        let by_rank = zipf(characters.len());
        let mut words: Vec<String> = WORDS.split(' ').map(str::to_owned).collect();
        while words.len() < SIZE {
            let length = [2, 2, 2, 2, 2, 3, 4][rng.usize(0..7)];
            words.push((0..length).map(|_| characters[draw(&by_rank, rng)]).collect());
        }
        Self { cumulated: zipf(words.len()), words }
    }

    pub fn word(&self, rng: &mut Rng) -> &str {
        &self.words[draw(&self.cumulated, rng)]
    }
}

/// Cumulated weights of ranks 1 to `count`, by the law of Zipf and Mandelbrot.
fn zipf(count: usize) -> Vec<f64> {
    let weights = (0..count).map(|rank| 1.0 / (rank as f64 + 2.7));
    let mut sum = 0.0;
    weights
        .map(|weight| {
            sum += weight;
            sum
        })
        .collect()
}

fn draw(cumulated: &[f64], rng: &mut Rng) -> usize {
    let total = cumulated.last().copied().unwrap_or(0.0);
    let wanted = rng.f64() * total;
    cumulated.partition_point(|&sum| sum <= wanted).min(cumulated.len() - 1)
}
