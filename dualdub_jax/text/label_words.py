"""Words that tell speaker labels from sentences, and stage directions from spoken words.

Source: our choice.
"""

_ORDINARY = """
a address agenda also and announcement answer apply april as aside attention august because before bonus
bottom breaking caution chapter comment conclusion correction date dear december definition description
details discuss email ending episode even event example exercise extra fact february figure final finally
first flight following for friday fun fyi go goal good hear here hint how i idea if important in ingredients
instructions introduction is it item january july june just key language last later lesson level line list
listen location look march may meaning meanwhile method mission monday my name news next no not note notes
notice november now number objective october ok okay one only or our part phone place plan please plus
position price problem ps question quote reason recipe remember reminder response result results rule
saturday say score season second section see september so solution spoiler status step still stop subject
summary sunday suppose surprise task that the then there therefore these they thing think this those three
thursday time tip title to today tomorrow tonight topic total translation true truth tuesday two type update
user verdict wait warning weather wednesday well what when where which who why word words yes yesterday you
your
"""
_MANNERS = """
angrily applauding applauds applause aside barks beat beeps bells blows cheering chuckle chuckles claps
clears cont'd contd continued continuing coughs creaks crying exhales explosion faintly gasp gasps giggle
giggles groan groans growls grunt grunts gulps gunshot gunshots happily hisses howls hums inaudible
indistinct inhales knocking knocks laugh laughing laughs laughter moans mumbles murmurs music mutters
nervously o.s. off-screen offscreen os panting pause pauses quietly ringing rings roars sadly sarcastically
scoffs screams screeches shouts shrieks sigh sighs silence singing sings slams sniff sniffles sniffs snores
snorts sobs softly squeals stammers stutters thuds v.o. vo voice-over voiceover wheezes whimpers whisper
whispered whispering whispers whistles whoosh winces yawns yells
"""

# They begin a line with a colon and are spoken: "Note: ...".
ORDINARY = frozenset(_ORDINARY.split())
# Sounds of people and things, and manners of speaking: "(laughs)".
MANNERS = frozenset(_MANNERS.split())
# Before a manner or an addressee: "(to Mary)".
PREPOSITIONS = frozenset(("as", "at", "from", "in", "into", "on", "over", "through", "to", "under", "with"))
