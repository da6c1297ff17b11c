"""Words that tell speaker labels from sentences, and stage directions from spoken words.

Source: our choice.
"""

_ORDINARY = """
a address afternoon agenda ah air all also always and announcement answer any apply april as aside attention
august bad because before best better big bonus both bottom breakfast breaking careful caution certainly
chapter choice clear come comment con conclusion congratulations cons correction date dear december
definition description details dinner discuss done down each earth easy either email ending enough episode
even evening event every everybody everyone everything exactly example exercise extra fact false far
february figure final finally fine finish fire first flight following food for free friday from full fun fyi
get give go goal good great happy he hear hello help her here hey hi high hint his home hot how hurry i idea
if important in ingredients inside instructions introduction is it item january july june just keep key
language last lastly later left lesson let level life like line list listen little location look looking
love lunch make many march may maybe meaning meanwhile method mission monday more morning most move much
must my myth name never new news next nice night no nobody none not note notes nothing notice november now
number objective october off oh ok okay once one only open option options or our out outside over part
people perhaps phone place plan please plus point points position price pro probably problem problems pros
ps put question quick quickly quiet quote ready really reason recipe remember reminder response result
results right rule run saturday say score season second section see september she short simple sincerely
small so solution some something soon sorry spoiler start status step still stop subject summary sunday
suppose sure surprise take task tell thank thanks that the then there therefore these they thing think this
those three thursday time tip title to today together tomorrow tonight too topic total translation true
truth try tuesday turn two type under up update user verdict very wait warning water way weather wednesday
welcome well what when where which who why word words wow yeah yes yesterday you your
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
