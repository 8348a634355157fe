"""Codes of the rubric VEHICULES, word for word from the official description, with English beside them.

One line per code: ``code | français | English``.
"""

VEHICULES = {
    "senc": (
        "Sens de circulation",
        "Direction of travel",
        """
        0 | Inconnu | Unknown
        1 | PK ou PR ou numéro d'adresse postale croissant | Rising kilometre or house numbers
        2 | PK ou PR ou numéro d'adresse postale décroissant | Falling kilometre or house numbers
        3 | Absence de repère | No reference
        """,
    ),
    "catv": (
        "Catégorie du véhicule",
        "Kind of vehicle",
        """
        0 | Indéterminable | Cannot be determined
        1 | Bicyclette | Bicycle
        2 | Cyclomoteur < 50 cm3 | Moped under 50 cc
        3 | Voiturette (quadricycle à moteur carrossé) | Microcar
        4 | Scooter immatriculé (inutilisée depuis 2006) | Registered scooter (until 2006)
        5 | Motocyclette (inutilisée depuis 2006) | Motorcycle (until 2006)
        6 | Side-car (inutilisée depuis 2006) | Sidecar (until 2006)
        7 | VL seul | Car
        8 | VL + caravane (inutilisée depuis 2006) | Car with caravan (until 2006)
        9 | VL + remorque (inutilisée depuis 2006) | Car with trailer (until 2006)
        10 | VU seul 1,5T <= PTAC <= 3,5T avec ou sans remorque | Van of 1.5 to 3.5 t
        11 | VU + caravane (inutilisée depuis 2006) | Van with caravan (until 2006)
        12 | VU + remorque (inutilisée depuis 2006) | Van with trailer (until 2006)
        13 | PL seul 3,5T < PTCA <= 7,5T | Lorry of 3.5 to 7.5 t
        14 | PL seul > 7,5T | Lorry over 7.5 t
        15 | PL > 3,5T + remorque | Lorry with trailer
        16 | Tracteur routier seul | Road tractor
        17 | Tracteur routier + semi-remorque | Road tractor with semi-trailer
        18 | Transport en commun (inutilisée depuis 2006) | Public transport (until 2006)
        19 | Tramway (inutilisée depuis 2006) | Tram (until 2006)
        20 | Engin spécial | Special machine
        21 | Tracteur agricole | Farm tractor
        30 | Scooter < 50 cm3 | Scooter under 50 cc
        31 | Motocyclette > 50 cm3 et <= 125 cm3 | Motorcycle of 50 to 125 cc
        32 | Scooter > 50 cm3 et <= 125 cm3 | Scooter of 50 to 125 cc
        33 | Motocyclette > 125 cm3 | Motorcycle over 125 cc
        34 | Scooter > 125 cm3 | Scooter over 125 cc
        35 | Quad léger <= 50 cm3 | Light quad up to 50 cc
        36 | Quad lourd > 50 cm3 | Heavy quad over 50 cc
        37 | Autobus | Bus
        38 | Autocar | Coach
        39 | Train | Train
        40 | Tramway | Tram
        41 | 3RM <= 50 cm3 | Three-wheeler up to 50 cc
        42 | 3RM > 50 cm3 <= 125 cm3 | Three-wheeler of 50 to 125 cc
        43 | 3RM > 125 cm3 | Three-wheeler over 125 cc
        50 | EDP à moteur | Powered personal mobility device
        60 | EDP sans moteur | Unpowered personal mobility device
        80 | VAE | Electric bicycle
        99 | Autre véhicule | Other vehicle
        """,
    ),
    "obs": (
        "Obstacle fixe heurté",
        "Fixed obstacle struck",
        """
        0 | Sans objet | None
        1 | Véhicule en stationnement | Parked vehicle
        2 | Arbre | Tree
        3 | Glissière métallique | Metal crash barrier
        4 | Glissière béton | Concrete crash barrier
        5 | Autre glissière | Other crash barrier
        6 | Bâtiment, mur, pile de pont | Building, wall, bridge pier
        7 | Support de signalisation verticale ou poste d'appel d'urgence | Sign post or emergency telephone
        8 | Poteau | Pole
        9 | Mobilier urbain | Street furniture
        10 | Parapet | Parapet
        11 | Îlot, refuge, borne haute | Island, refuge, tall bollard
        12 | Bordure de trottoir | Kerb
        13 | Fossé, talus, paroi rocheuse | Ditch, bank, rock face
        14 | Autre obstacle fixe sur chaussée | Other fixed obstacle on the carriageway
        15 | Autre obstacle fixe sur trottoir ou accotement | Other fixed obstacle on the pavement or verge
        16 | Sortie de chaussée sans obstacle | Left the road without an obstacle
        17 | Buse - tête d'aqueduc | Culvert
        """,
    ),
    "obsm": (
        "Obstacle mobile heurté",
        "Moving obstacle struck",
        """
        0 | Aucun | None
        1 | Piéton | Pedestrian
        2 | Véhicule | Vehicle
        4 | Véhicule sur rail | Rail vehicle
        5 | Animal domestique | Domestic animal
        6 | Animal sauvage | Wild animal
        9 | Autre | Other
        """,
    ),
    "choc": (
        "Point de choc initial",
        "First point of impact",
        """
        0 | Aucun | None
        1 | Avant | Front
        2 | Avant droit | Front right
        3 | Avant gauche | Front left
        4 | Arrière | Rear
        5 | Arrière droit | Rear right
        6 | Arrière gauche | Rear left
        7 | Côté droit | Right side
        8 | Côté gauche | Left side
        9 | Chocs multiples (tonneaux) | Multiple impacts (rollover)
        """,
    ),
    "manv": (
        "Manœuvre principale avant l'accident",
        "Main manoeuvre before the accident",
        """
        0 | Inconnue | Unknown
        1 | Sans changement de direction | Going straight on
        2 | Même sens, même file | Same direction, same lane
        3 | Entre 2 files | Between two lanes
        4 | En marche arrière | Reversing
        5 | À contresens | Against the traffic
        6 | En franchissant le terre-plein central | Crossing the central reservation
        7 | Dans le couloir bus, dans le même sens | In the bus lane, same direction
        8 | Dans le couloir bus, dans le sens inverse | In the bus lane, opposite direction
        9 | En s'insérant | Merging
        10 | En faisant demi-tour sur la chaussée | Making a U-turn
        11 | Changeant de file à gauche | Changing lane to the left
        12 | Changeant de file à droite | Changing lane to the right
        13 | Déporté à gauche | Drifting to the left
        14 | Déporté à droite | Drifting to the right
        15 | Tournant à gauche | Turning left
        16 | Tournant à droite | Turning right
        17 | Dépassant à gauche | Overtaking on the left
        18 | Dépassant à droite | Overtaking on the right
        19 | Traversant la chaussée | Crossing the road
        20 | Manœuvre de stationnement | Parking
        21 | Manœuvre d'évitement | Avoiding something
        22 | Ouverture de porte | Opening a door
        23 | Arrêté (hors stationnement) | Stopped (not parked)
        24 | En stationnement (avec occupants) | Parked (with occupants)
        25 | Circulant sur trottoir | Riding on the pavement
        26 | Autres manœuvres | Other manoeuvre
        """,
    ),
    "motor": (
        "Type de motorisation",
        "Kind of engine",
        """
        0 | Inconnue | Unknown
        1 | Hydrocarbures | Fuel
        2 | Hybride électrique | Hybrid
        3 | Électrique | Electric
        4 | Hydrogène | Hydrogen
        5 | Humaine | Human power
        6 | Autre | Other
        """,
    ),
}
