"""Tells the language of a question, as far as a student of English needs to know. No dependency, no model."""

import re
import unicodedata

from langchain_divconq.words import FUNCTION_WORDS

# The commonest words of other languages. Those that are English words too ("was", "die", "no") count for neither.
_COMMON = {
    "German": """
        wer wie wann wo warum was welche welcher welches welchen wessen wieviel ist sind war waren hat haben hatte wird
        wurde wurden kann der die das dem den ein eine einer einem einen und oder nicht mit von vom zum zur bei aus auf
        für über nach vor noch auch mehr als sich ich du er sie es wir ihr mein meine bitte gibt beim in im ins um seit
        an am so also will zwischen viele""",
    "French": """
        qui quoi quand où pourquoi comment quel quelle quels quelles combien est sont était étaient avait a ont été le
        la les un une des du de et ou or dans avec pour par sur au aux ce cette ces qu'il que c'est plus je tu il elle
        on nous vous mon ma mes me son sa ses s'il donne peut fait est-ce ça pas ne se""",
    "Spanish": """
        quién quien quiénes qué cuándo cuando dónde donde cómo cuál cuáles cuánto cuánta cuántos cuántas es son fue
        fueron era está están tiene tienen el la los las un una unos del de y o en con por para que se su sus al más mi
        mis me ha hay entre a no este esta""",
    "Italian": """
        chi che cosa quando dove perché come quale quali quanto quanta quanti quante è sono era erano ha hanno il lo la
        gli le i un una uno del della dei delle degli di e o nel nella in con per da dal dalla più su al alla si suo sua
        mi me a tra nato nata""",
    "Portuguese": """
        quem que quando onde porque como qual quais quanto quanta quantos quantas é são foi foram era tem têm o os a as
        um uma do da dos das de e ou em no na nos nas com por para mais ao à se seu sua me meu minha não entre""",
    "Dutch": """
        wie wat wanneer waar waarom hoe welke welk hoeveel is zijn was waren heeft hebben had wordt werd werden het de
        een van en of niet met voor bij in uit op naar ook meer dan zich ik je hij zij wij mijn haar er dat die door tot
        tussen""",
    "Polish": """
        kto co kiedy gdzie dlaczego jak jaki jaka jakie jaką który która które którego której ile czy jest są był była
        było były ma mają się nie w z na do od po przez dla oraz lub albo i a że o to mi przed czyim czyja""",
    "Swedish": """
        vem vad när var varför hur vilken vilket vilka är hade har blev det den ett och eller inte med från till för på
        av som i om""",
    "Turkish": """
        kim ne zaman nerede neden nasıl hangi kaç ve veya bir mi mu bu için ile daha olan olarak""",  # noqa: RUF001
    "Danish": """
        hvem hvad hvornår hvor hvorfor hvordan hvilken hvilket hvilke er har havde blev det den et og eller ikke med fra
        til på af som i om""",
    "Czech": """
        kdo kdy kde proč jak jaký jaká jaké který která které kolik je jsou byl byla bylo byli má se a nebo v na z od po
        pro že jeho její""",
    "Romanian": """
        cine ce când unde cum care cât câți câte este sunt fost era și sau în din pe de la cu pentru mai un o al ale s-a
        nu""",
    "Hungarian": """
        ki kik mi mikor hol miért hogyan melyik mennyi hány és vagy van volt voltak az egy nem meg hogy is""",
    "Finnish": """
        kuka ketkä mikä mitä mitkä milloin missä mistä miksi miten kuinka ja tai on oli ovat olivat ei että se""",
    "Indonesian": """
        siapa apa kapan mana mengapa kenapa bagaimana berapa adalah yang dan atau di dari ke untuk dengan itu ini tidak
        lebih oleh""",
    "Vietnamese": """
        ai gì khi nào ở đâu tại sao như thế bao nhiêu là và hay hoặc của trong với cho những các được đã có
        không này""",
}
_LANGUAGES = {language: frozenset(text.split()) for language, text in _COMMON.items()}
_BEGINNING = {
    "German": "wer wann warum welche welcher welches wieviel danke bitte",
    "French": "qui pourquoi quand où combien bonjour merci",
    "Spanish": "quién quien quiénes qué cuándo dónde cómo cuál cuánto cuántos cuántas hola gracias",
    "Italian": "perché quale quali grazie",
    "Portuguese": "quem quantos quantas obrigado obrigada olá",
    "Dutch": "wie hoeveel waarom wanneer bedankt",
    "Polish": "kto kiedy gdzie dlaczego dziękuję",
    "Swedish": "vem varför vilken vilket tack",
}
# Words that no English text begins with.
_BEGINNINGS = {word: language for language, text in _BEGINNING.items() for word in text.split()}
_MORE_ENGLISH = (
    "s versus vs old much long year city country first last same company number came two three four five six"
)
_ENGLISH = FUNCTION_WORDS | set(_MORE_ENGLISH.split())
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")


def other_language(text: str) -> str | None:
    """Return the language, or the script, of a text that is not English; None: it is English, or cannot be told.

    A text in another script is told by its letters, one in Latin letters by its commonest words. Foreign names in an
    English text change nothing: English words stand around them.
    """
    found = _WORD.findall(text)
    tokens = [word.casefold() for word in found]
    english = sum(word in _ENGLISH for word in tokens)
    letters = [character for character in text if character.isalpha()]
    foreign = [character for character in letters if not _is_latin(character)]
    if len(foreign) > len(letters) / 2 or (english == 0 and len(foreign) > len(letters) / 5):
        return _script(foreign)
    if english == 0 and tokens and tokens[0] in _BEGINNINGS:
        return _BEGINNINGS[tokens[0]]
    # Titles and names are written with capitals, so their words do not count; the first word of a text does.
    plain = [word.casefold() for number, word in enumerate(found) if number == 0 or word[0].islower()]
    # Where no English word is, one word of another language will do beside letters that English lacks.
    marked = "\u00bf" in text or "\u00a1" in text or "\u201e" in text or any(not word.isascii() for word in plain)
    likely: dict[str, int] = {}
    for language, common in _LANGUAGES.items():
        theirs = sum(word in common and word not in _ENGLISH for word in plain)
        ours = sum(word in _ENGLISH and word not in common for word in tokens)
        if theirs > ours and theirs >= (1 if marked and not ours else 2):
            likely[language] = theirs - ours
    return max(likely, key=likely.__getitem__) if likely else None


def _is_latin(character: str) -> bool:
    return unicodedata.name(character, "").startswith(("LATIN", "MODIFIER LETTER", "FEMININE", "MASCULINE"))


def _script(letters: list[str]) -> str:
    scripts = [unicodedata.name(letter, "OTHER").split()[0].capitalize() for letter in letters]
    if "Hiragana" in scripts or "Katakana" in scripts:
        return "Japanese"
    name = max(set(scripts), key=lambda script: (scripts.count(script), script))
    return {"Cjk": "Chinese", "Hangul": "Korean"}.get(name, f"written in {name} letters")
