"""Questions that never reach the model, and those that do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from langchain_divconq.guard import reason_to_leave_whole
from langchain_divconq.languages import other_language
from langchain_divconq.types import Question

CHAT = (HumanMessage("What is the storage limit on Basic?"), AIMessage("10 GB."))


def why(text: str, *history: HumanMessage | AIMessage | SystemMessage, english_only: bool = True) -> str:
    question = Question(text=text).model_copy(update={"history": history})
    return reason_to_leave_whole(question, english_only=english_only) or ""


@pytest.mark.parametrize(
    "text",
    [
        *("hi", "Hello there!", "thanks, that helped!", "Great, thank you so much for all of that", "ok", "good night"),
        *("yes", "yes, do it", "no", "Yes please, go ahead with the second of the two", "sounds good", "continue"),
        "why?",
    ],
)
def test_greetings_thanks_and_words_of_agreement_stay_whole(text: str) -> None:
    assert why(text) in {"it is a turn of a conversation and asks nothing", "it has too few words to hold two facts"}


@pytest.mark.parametrize("text", ["42", "2+2", "3.14?", "???", "#12", "...", "\U0001f600"])
def test_what_holds_no_words_stays_whole(text: str) -> None:
    assert why(text) == "it holds no words"


@pytest.mark.parametrize(
    "text",
    [
        "Who wrote Emma?",
        "capital of Peru",
        "What is #333333?",
        "tell me more",
        "How do I reset it?",
        "what about the second one",
    ],
)
def test_too_few_words_for_two_facts_stay_whole(text: str) -> None:
    assert why(text) == "it has too few words to hold two facts"


@pytest.mark.parametrize(
    "text",
    [
        "Book a table for four at Luigi's on Friday and then mail Anna the time.",
        "Write a poem about the sea.",
        "please translate 'the ship is late' into Danish",
        "Could you please turn off the lights in the hall and the kitchen",
        "Remind me at four to call the plumber and the joiner.",
        # in polite or indirect form
        "Can you email Ben the report and tell Carla?",
        "I need you to book a table for six at Luigi's on Friday.",
        "Let's schedule a call with Ben and Carla on Tuesday at ten.",
        "Would you mind sending the slides to Carla and Ben tonight?",
        "Please could you cancel my dentist appointment and book a haircut?",
        "I'd like you to write a short poem about the sea and the moon.",
        "It would be great if you could move the meeting to Friday and let Anna know.",
        "Would you be able to set an alarm for six and another for seven?",
        "Why don't you send Ben a reminder and invite Carla?",
        "I was wondering if you could book us a table at Luigi's for Friday.",
        "can you let Anna know that the meeting was moved and send Ben the link",
        "Could you help me write a letter to the tax office?",
        "hey, thanks! could you mail Anna the time and the address",
        "Don't forget to rename the files and to mail Anna.",
        "Write a limerick about a referee who lost his whistle in the snow.",
        "Rewrite this so it sounds kinder: The wife of the boss told the cook to leave.",
    ],
)
def test_orders_with_nothing_to_find_out_stay_whole(text: str) -> None:
    assert why(text) == "it is an order with nothing to find out"


@pytest.mark.parametrize(
    "text",
    [
        # orders in which something is to be found out first
        "Can you tell me who wrote the hymn and when it was first sung?",
        "Can you find the cheapest of our three hosts and its uptime?",
        "Let's compare the height of the Eiffel Tower and the Shard.",
        "Would you mind telling me when the ferry leaves and what it costs?",
        "I need you to send the latest invoice to whoever approved the last one.",
        "Could you email the report to the person who wrote it?",
        "Can you order a Fiat at a petrol station?",
        "Would you rather live in the capital of Peru or of Chile",
        "Give me the age limit and the weight limit for the zip line at Craigdow.",
        "Transfer the deposit for the cabin Jonah found to the owner's account",
        "book dinner near the hotel im staying at in turin for friday",
        "Please transfer the deposit for the cottage we picked.",
        "Write a haiku about the town the mayor was born in, you would have to look it up.",
        # search words and questions without a mark, which are no statements
        "My order number is 4711. When does it ship and who carries it?",
        "my order never came. which courier had it and whats their number",
        "The Kell bridge was opened in 1902, who opened it",
        "the bank that finances our forklift fleet, does it charge for early repayment",
        "the part number of the belt in the dryer that the Mendozas bought",
        "the stadium they moved the derby to, has it got a roof",
        "The hotel Anna was in last year, phone number and price of a single",
        "My boss thinks the Odra is longer than the Meuse.",
        "I need the name of the wine served at the wedding",
        "The moon discovered by the Teral probe orbits a planet, and I'd like to know that planet's diameter",
        "Paolo Rocca is a CEO of the conglomerate founded in what Italian city in 1945",
        "Ann is 64 inches tall and Zora 8 inches shorter, calculate the average height of the two.",
        "hey population of the capital of peru and of chile",
        "hey is the metal in Corrino cans heavier than lead",
        "i need the price of the phone that replaced the Vanta 6",
        "what is a halyard and what is a sheet",
        "tent, two adults, a dog, no power. per night in june, per night in august?",
        # questions
        "hi, who is older, the mayor of Lund or the mayor of Ystad?",
        "Thanks! And when did the architect of the old town hall die?",
        "yes, find the cheapest of our three hosts and its uptime",
        "Who is Ada's grandfather?",
        "Do skeletons have hair?",
        "Forward the latest invoice from Talbot to whoever approved the last one.",
        "Book a table at the restaurant where we had last year's dinner.",
        "uranus vs neptune, which is colder",
        "age of verdi at premiere of falstaff",
        "and when was her husband born, before or after the war?",
        "Can you tell me who built the Kell bridge and when?",
        "Can you send Ben the phone number of the manager of Luigi's?",
        "biggest order from last week, has it shipped",
        "phone number of the manager of the bakery in Lund",
        "I need the opening hours of the museum in Lund and the price of a ticket",
        "The board games by Ute Karlsen that are for two players, please.",
        "lol is Greta Holm taller than the hoop at Pine Court",
        "ok weird one. the wood of the bow comes from some country, is it hot there",
        "What is the colour #333333 called, and what is #c0ffee?",
    ],
)
def test_what_may_hold_two_facts_is_shown_to_the_model(text: str) -> None:
    assert why(text) == ""


@pytest.mark.parametrize(
    "text",
    [
        "My order number is 4711.",
        "The meeting was moved to Friday and Anna knows.",
        "I already tried that, it did not work.",
        "FYI the printer on the second floor is broken",
        "My landlord has raised the rent twice this year.",
        "Anna's flight lands at six and Ben picks her up.",
        "Ben and Clara will join the call from Graz.",
        "Dr. Osei is on holiday until the 12th.",
        "Mary told me that the shop on Mill Road closed last year.",
        "The new head of finance, who came over from the old firm, starts on Tuesday.",
        "My grandad passed away last week and I miss him a lot.",
        "Thanks for your help, the second script works now.",
        "I bought the blue kettle on the 4th and it broke on the 6th.",
        "I never met the colleague who replaced the woman who trained me.",
        "The soup was cold, the waiter was rude, and the bill had three mistakes in it. Never again.",
        "its still not working, the light on the router blinks red",
    ],
)
def test_what_tells_something_and_asks_nothing_stays_whole(text: str) -> None:
    assert why(text) == "it tells something and asks nothing"


@pytest.mark.parametrize(
    "text",
    [
        "sounds good, see you then",
        "Monday works for me and Tuesday works for Ben",
        "Happy birthday to you and your brother!",
        "thanks a million, that was exactly what I needed",
        "perfect, that is all I wanted to hear",
        "ok great, I will let them know tomorrow",
        "let's go with the second option",
    ],
)
def test_chat_that_asks_nothing_stays_whole(text: str) -> None:
    assert why(text) == "it is a turn of a conversation and asks nothing"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Wie heißt der Bürgermeister der Stadt, in der Goethe geboren wurde?", "German"),
        ("was kostet das Monatsticket in Graz und was in Linz", "German"),
        ("Qui a peint le plafond de la chapelle, et quand est-il mort ?", "French"),
        ("¿Quién escribió la novela y dónde nació su autor?", "Spanish"),
        ("Chi ha scritto il romanzo e dove è nato il suo autore?", "Italian"),
        ("Quem escreveu o livro e em que ano nasceu o seu autor?", "Portuguese"),
        ("Wie schreef het boek en waar is de schrijver geboren?", "Dutch"),
        ("Kto napisał tę książkę i gdzie urodził się jej autor?", "Polish"),
        ("Hvem skrev bogen og hvor blev forfatteren født?", "Danish"),
        ("Kdo napsal knihu a kde se narodil její autor?", "Czech"),
        ("Cine a scris cartea și unde s-a născut autorul ei?", "Romanian"),
        ("Ki írta a könyvet és hol született a szerzője?", "Hungarian"),
        ("Kuka kirjoitti kirjan ja missä kirjailija syntyi?", "Finnish"),
        ("Siapa yang menulis buku itu dan di mana penulisnya lahir?", "Indonesian"),
        ("Ai đã viết cuốn sách và tác giả sinh ra ở đâu?", "Vietnamese"),
        ("谁写了这本书 他出生在哪里", "Chinese"),
        ("この本を書いたのは誰で、どこで生まれましたか", "Japanese"),
        ("PostgreSQLとSQLiteではどちらが先に公開されましたか", "Japanese"),
        ("이 책을 누가 썼고 그는 어디에서 태어났습니까?", "Korean"),
        ("من كتب هذا الكتاب وأين ولد مؤلفه؟", "written in Arabic letters"),
        ("Кто написал эту книгу и где родился её автор?", "written in Cyrillic letters"),
        ("इस किताब को किसने लिखा और उसका जन्म कहाँ हुआ?", "written in Devanagari letters"),
    ],
)
def test_another_language_stays_whole_for_a_student_of_english_alone(text: str, language: str) -> None:
    assert why(text) == f"it is {language}, and the decomposer was taught English"
    assert why(text, english_only=False) == ""


@pytest.mark.parametrize(
    "text",
    [
        "What does 東京 mean, and who named the city so?",
        "Which film came out first, Ne Jouez Pas Avec Les Martiens or A Hijacking?",
        "Who directed La vita è bella and where was he born?",
        "los angeles mayor age",
        "leonardo da vinci birthplace",
        "Was Der Spiegel founded before Die Zeit?",
        "population of the capital of São Tomé and Príncipe",
        "What is the currency of the country where the Río de la Plata ends?",
        "Where did the pianist who recorded Für Elise and Die Forelle die?",
    ],
)
def test_english_with_foreign_names_is_english(text: str) -> None:
    assert other_language(text) is None
    assert why(text) == ""


@pytest.mark.parametrize(
    "text",
    [
        "and on Pro? is it worth the extra money",
        "What about the Gold plan and its storage limit in Norway?",
        "When did he leave the company and join the rival firm?",
        "Which of them costs less per seat and month?",
        "does it come with a printed manual and a cable?",
    ],
)
def test_a_follow_up_that_leans_on_earlier_turns_stays_whole(text: str) -> None:
    assert "leans on earlier turns" in why(text, *CHAT)


@pytest.mark.parametrize(
    "text",
    [
        "When did the founder of the company leave, and where did she go?",
        "Is it true that the author of Emma lived longer than her sister?",
        "Are there more moons around Mars than around Uranus?",
    ],
)
def test_a_question_that_stands_on_its_own_in_a_conversation_is_shown_to_the_model(text: str) -> None:
    assert why(text, *CHAT) == ""


def test_instructions_alone_are_no_earlier_turns() -> None:
    assert why("and on Pro, is the extra money worth the extra storage?", SystemMessage("Be kind.")) == ""


@given(st.text(min_size=1).filter(lambda text: text.strip()), st.booleans())
def test_any_question_is_judged_without_an_error_and_always_alike(text: str, english_only: bool) -> None:
    try:
        question = Question(text=text)
    except ValueError:  # a lone surrogate is no question
        return
    first = reason_to_leave_whole(question, english_only=english_only)
    assert first is None or first.startswith("it ")
    assert reason_to_leave_whole(question, english_only=english_only) == first


def test_few_words_about_a_passage_reach_the_model() -> None:
    asked = Question(text="what time is that for each", context="The call has moved to 16:00. Raul joins from Lima.")
    assert reason_to_leave_whole(asked, english_only=True) is None
    assert why("what time is that for each") == "it has too few words to hold two facts"
