"""Texts for the synthesizers: short sentences, common words, made-up words and numbers, in many languages.

All sentences were written for this file; the common words come from `wordfreq`. Made-up words balance the phones (lips
close more often than in prose), and numerals let a synthesizer speak languages that have no words here.
"""

from __future__ import annotations

import random
import re
import unicodedata
from functools import cache

SENTENCES: dict[str, tuple[str, ...]] = {
    "en": (
        "Papa bought a big map of the harbour before breakfast.",
        "We met five brave women from Vermont who fish with their hands.",
        "Open the window, please, the room smells of fresh paint.",
        "My uncle Bob keeps three goats and a very old van.",
        "Could you whisper the answer, or should I ask the other judge?",
        "Few people believe that apples float, but most of them do.",
        "The choir sang about love, thunder and a purple moon.",
        "Thank you for coming, everyone, let us begin with the budget.",
        "He always jumps over the puddle and never looks back.",
        "Warm bread, butter and jam make a perfect morning meal.",
        "Yesterday the team moved eleven boxes up to the attic.",
        "Would your father lend me the car for about an hour?",
    ),
    "cmn": (
        "我们明天早上八点在北门见面。",
        "爸爸妈妈买了很多苹果和面包。",
        "请你慢慢说，我还没有听明白。",
        "这本书比那本便宜一半，不过没有图片。",
        "今天的风很大，朋友们都不想爬山。",
        "他用毛笔写了一封非常漂亮的信。",
        "欢迎来到我的房间，请坐，喝一杯热茶吧。",
        "小猫跑到门后面，把白布咬破了。",
        "去年夏天我们坐火车去了西北旅行。",
        "老师问大家，谁能把这首歌唱完？",
    ),
    "de": (
        "Meine Mutter backt am Samstag oft einen Apfelkuchen.",
        "Wir müssen früh aufbrechen, sonst verpassen wir die Fähre.",
        "Fünf kleine Vögel sitzen auf dem Baum vor unserem Haus.",
        "Warum hast du das blaue Buch nicht mitgebracht?",
        "Der Bäcker öffnet um sieben und schließt um halb drei.",
        "Böse Wölfe gibt es hier höchstens noch im Märchen.",
        "Bitte warten Sie einen Augenblick, ich komme sofort.",
        "Am Abend spielt Paul Klavier und alle hören zu.",
        "Schöne Grüße aus München, das Wetter ist prima.",
    ),
    "es": (
        "Mi abuela vive cerca del puerto y vende flores.",
        "El perro blanco persigue la pelota por toda la playa.",
        "Por favor, abre la puerta antes de que empiece la fiesta.",
        "Nuestro vecino compró una guitarra vieja en el mercado.",
        "Mañana iremos al museo con cinco amigos de Bolivia.",
        "Nadie sabe por qué la fuente dejó de funcionar.",
        "Las manzanas verdes me gustan más que las peras.",
        "¿Puedes hablar un poco más despacio, por favor?",
    ),
    "fr": (
        "Ma voisine promène son petit chien au bord du fleuve.",
        "Nous avons mangé une bonne soupe avec du pain chaud.",
        "Peux-tu ouvrir la fenêtre, il fait vraiment trop chaud ici.",
        "Le facteur apporte une lettre bleue chaque vendredi matin.",
        "Quand j'étais jeune, je jouais du piano pendant des heures.",
        "Bonjour à tous, voici le programme de notre voyage.",
        "Un oiseau jaune chante devant la maison du boulanger.",
        "Elle a peur du brouillard mais elle aime la pluie.",
    ),
    "it": (
        "Mio fratello beve un caffè prima di prendere il treno.",
        "La bambina ha messo la bambola sopra il tavolo piccolo.",
        "Domani pomeriggio andiamo tutti al mare con la famiglia.",
        "Vorrei sapere dove comincia il sentiero per la montagna.",
        "Il gatto nero dorme sempre vicino al fuoco.",
        "Che bella voce, potrebbe cantare all'opera di Palermo!",
        "Abbiamo ascoltato una favola su un lupo e una volpe.",
    ),
    "pt-br": (
        "Meu pai pescou um peixe enorme na beira do rio.",
        "A gente pode almoçar junto amanhã, se não chover.",
        "O menino perdeu o boné azul dentro do ônibus.",
        "Você viu o mapa que deixei em cima da mesa?",
        "Minha avó faz um bolo de fubá muito bom.",
        "Eles viajaram para o sul em busca de trabalho.",
        "Feche a porta devagar, o bebê está dormindo.",
    ),
    "ru": (
        "Мой брат купил большой арбуз и пять помидоров.",
        "Вчера вечером мы долго гуляли по набережной.",
        "Бабушка поёт старую песню и варит вишнёвое варенье.",
        "Пожалуйста, подождите меня у выхода из метро.",
        "В этом доме живут только рыбаки и их семьи.",
        "Почему ты не позвонил, когда приехал обратно?",
        "Белый пароход медленно вышел из бухты в море.",
    ),
    "pl": (
        "Mój brat wypił filiżankę mocnej kawy przed podróżą.",
        "Babcia upiekła pyszne ciasto z jabłkami i cynamonem.",
        "Proszę mówić trochę wolniej, bo nie rozumiem.",
        "W lipcu pojedziemy pociągiem nad morze.",
        "Wieczorem wszyscy bawili się przy ognisku.",
    ),
    "tr": (
        "Babam bahçede büyük bir ağacın altında oturuyor.",
        "Yarın sabah vapurla karşıya geçeceğiz.",
        "Lütfen pencereyi aç, burası çok sıcak oldu.",
        "Küçük kız köpüklü sütünü bitirip gülümsedi.",
        "Bu mavi defter benim değil, öğretmenin.",
    ),
    "ar": (
        "ذَهَبَ أَبِي إِلَى السُّوقِ وَاشْتَرَى خُبْزًا وَتَمْرًا.",
        "مَرْحَبًا بِكُمْ، نَبْدَأُ الْآنَ بِأَخْبَارِ الْيَوْمِ.",
        "هَلْ يُمْكِنُكَ أَنْ تَفْتَحَ الْبَابَ مِنْ فَضْلِكَ؟",
        "كَانَتْ أُمِّي تُحِبُّ الْبَحْرَ وَالْمَطَرَ فِي الْمَسَاءِ.",
        "وَصَلَ الْوَفْدُ صَبَاحًا وَبَحَثَ الْمَوْقِفَ مَعَ الْوَزِيرِ.",
        "يَلْعَبُ الْأَطْفَالُ بِالْكُرَةِ أَمَامَ الْبَيْتِ الْقَدِيمِ.",
        "فِي الشِّتَاءِ نَشْرَبُ الشَّايَ وَنَسْمَعُ الْمُوسِيقَى.",
    ),
    "hi": (
        "मेरी बहन बाज़ार से फल और फूल लाई है।",
        "कृपया थोड़ा धीरे बोलिए, मुझे समझ नहीं आया।",
        "बारिश के बाद पूरा मैदान पानी से भर गया।",
        "हम सब मिलकर शाम को पहाड़ पर जाएँगे।",
        "पिताजी ने पुरानी किताब भाई को दे दी।",
        "वह लड़की बहुत अच्छा गाना गाती है।",
    ),
    "ja": (
        "あした の あさ、ともだち と うみ へ いきます。",
        "おばあさん は パン と ぶどう を たべました。",
        "すみません、もう いちど ゆっくり はなして ください。",
        "この へや は ひろくて、まど から やま が みえます。",
        "ぼく の ぼうし が かぜ で とんで しまった。",
        "ふゆ に なる と、まいばん おふろ に はいります。",
    ),
    "ko": (
        "아버지는 아침마다 밥을 먹고 바로 출근합니다.",
        "내일 비가 오면 박물관에 가는 게 어때요?",
        "우리 엄마는 봄에 피는 꽃을 좋아합니다.",
        "천천히 말씀해 주세요, 잘 못 들었어요.",
        "강아지가 파란 공을 물고 마당을 뛰어다녀요.",
        "오빠는 바다 앞에 작은 집을 지었습니다.",
    ),
    "sw": (
        "Baba yangu anapenda kupika samaki na wali.",
        "Tafadhali fungua mlango, mgeni amefika.",
        "Watoto wanacheza mpira mbele ya nyumba.",
        "Kesho tutapanda basi kwenda mjini mapema.",
    ),
    "id": (
        "Bapak membeli pepaya dan pisang di pasar pagi.",
        "Kami akan berangkat ke pulau kecil besok siang.",
        "Tolong bicara pelan-pelan, saya belum paham.",
        "Burung biru itu hinggap di atas atap rumah.",
    ),
    "vi": (
        "Mẹ tôi mua bánh mì và ba quả bưởi.",
        "Ngày mai chúng tôi đi biển cùng bạn bè.",
        "Xin anh nói chậm hơn một chút.",
        "Em bé vừa uống sữa vừa cười.",
    ),
}

ACCENTS: dict[str, tuple[str, ...]] = {
    "en": ("en-us", "en-gb-scotland", "en-gb-x-rp", "en-us-nyc", "en-029"),
    "es": ("es", "es-419"),
    "pt-br": ("pt-br", "pt"),
}
"""Synthesizer languages that speak the same sentences; a language not named here speaks as itself."""

WORDS = {
    **{name: name for name in ("en", "de", "es", "fr", "it", "pl", "tr", "ru", "ko", "id", "vi", "hi")},
    **{name: name for name in ("nl", "sv", "da", "el", "hu", "fi", "ro", "cs", "uk", "ca", "bg", "lt", "lv", "sk")},
    **{name: name for name in ("sl", "mk", "is", "ms", "bn", "ta", "ja")},
    "cmn": "zh", "pt-br": "pt", "nb": "nb", "hr": "sh",
}  # fmt: skip
"""Languages with a list of common words, and the list's own name for them (`wordfreq`)."""

ONLY_NUMBERS = ("fa", "te", "he", "eu", "yue", "th")
"""Languages spoken from numerals and made-up words only: their spelling does not show vowels or word boundaries."""

PLAIN_LATIN = frozenset(
    {"en", "de", "es", "fr", "it", "pt-br", "pl", "tr", "sw", "id"}
    | {"nl", "sv", "da", "hu", "fi", "ro", "cs", "ca", "eu", "ms", "sk", "sl", "hr", "nb"}
)
"""Languages in which `bamofi` is pronounced as spelt."""

WEIGHTS = {"en": 4, "cmn": 4, "ar": 2, "ja": 2, "ko": 2, "es": 2, "fr": 2, "de": 2, "hi": 2}
"""Relative frequency of a language; 1 if not listed."""

COMMON = 5000  # of a list's most common words
_KANA = re.compile(r"[ぁ-ゖァ-ヺー]+")

_ONSETS = (*"bpmfvwbpmfvtdnlsrkgh", "sh", "ch", "pr", "bl", "st", "j", "y")
_NUCLEI = ("a", "a", "e", "i", "o", "u", "ai", "au")
_CODAS = ("", "", "", "m", "n", "p", "s", "l", "r")


def languages() -> tuple[str, ...]:
    """Every language, repeated by its weight."""
    names = dict.fromkeys((*SENTENCES, *WORDS, *ONLY_NUMBERS))
    return tuple(name for name in names for _ in range(WEIGHTS.get(name, 1)))


def draw(language: str, rng: random.Random) -> str:
    """One text to speak: a sentence, common words, made-up words or numbers."""
    sentences, kind = SENTENCES.get(language), rng.random()
    if sentences and kind < 0.25:
        return rng.choice(sentences)
    if language in WORDS and kind < 0.75:
        words = _common(WORDS[language])
        return " ".join(rng.choice(words) for _ in range(rng.randint(4, 10))) + "."
    if sentences and kind < 0.80:
        return _shuffled(sentences, rng)
    if language in PLAIN_LATIN and kind < 0.95:
        return " ".join(_made_up(rng) for _ in range(rng.randint(3, 8))) + "."
    return ", ".join(str(rng.randint(0, 10 ** rng.randint(1, 5))) for _ in range(rng.randint(2, 5)))


@cache
def _common(words: str) -> tuple[str, ...]:
    """A language's common words, without abbreviations, numbers and, in Japanese, words in kanji."""
    import wordfreq  # for training only

    listed = wordfreq.top_n_list(words, COMMON)
    plain = (word for word in listed if all(unicodedata.category(char)[0] in "LM" for char in word))
    if words == "ja":
        return tuple(word for word in plain if _KANA.fullmatch(word))
    return tuple(word for word in plain if len(word) > (0 if words in {"zh", "ko"} else 1))


def _shuffled(sentences: tuple[str, ...], rng: random.Random) -> str:
    first, second = rng.sample(sentences, 2)
    words = (first + " " + second).split()
    if len(words) < 5:  # written without spaces
        words = list(first + second)
    rng.shuffle(words)
    return " ".join(words[: rng.randint(4, 12)])


def _made_up(rng: random.Random) -> str:
    syllables = rng.randint(1, 4)
    return "".join(rng.choice(_ONSETS) + rng.choice(_NUCLEI) + rng.choice(_CODAS) for _ in range(syllables))
